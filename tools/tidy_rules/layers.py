"""Who may include whom: the levels of tools/layers.toml, private folders, and includes rooted at src/."""

import re

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
ANGLE_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([^>\n]+)>", re.MULTILINE)


def level_of(settings):
    return {folder: number for number, folders in enumerate(settings["levels"]) for folder in folders}


def includes(file):
    """(line, path) of each quoted include."""
    return [(file.text.count("\n", 0, match.start()) + 1, match.group(1)) for match in INCLUDE.finditer(file.text)]


def private_owner(path, settings):
    """The folder that alone may include `path`, or None when anybody may."""
    for folder, owner in settings.get("private", {}).items():
        if path.startswith(folder + "/"):
            return owner
    return None


def subfolder_of(path, folder, levels):
    """The subfolder of `folder` that has src/`path`: its name, or None when tools/layers.toml does not list it."""
    parts = path.removeprefix(folder + "/").split("/")
    name = parts[0] if len(parts) > 1 else "."
    return name if name in levels else None


def check_subfolders(file, settings):
    """A file of a folder with ordered subfolders is in one of them, and includes its own and lower ones.

    A unit test may use all of its folder.
    """
    findings = []
    for folder, order in settings.get("subfolders", {}).items():
        own_path = str(file.path).removeprefix("src/")
        if not own_path.startswith(folder + "/") or own_path.startswith(folder + "/testing/"):
            continue
        levels = level_of({"levels": order})
        own = subfolder_of(own_path, folder, levels)
        if own is None:
            findings.append(f"{file.path}:1: is in no subfolder that tools/layers.toml lists for {folder}/")
            continue
        for line, path in [] if own_path.endswith("_test.cc") else includes(file):
            if not path.startswith(folder + "/") or "/testing/" in path:
                continue
            other = subfolder_of(path, folder, levels)
            if other is not None and other != own and levels[other] >= levels[own]:
                findings.append(f"{file.path}:{line}: {folder}/{own} includes {other}, which is not below it")
    return findings


def check_include(file, line, path, levels, settings):
    where = f"{file.path}:{line}: "
    first = path.split("/")[0]
    if "/" not in path or first.startswith("."):
        return [where + f'include "{path}" is not rooted at src/']
    if settings.get("generated", {}).get(first) == file.source_folder:
        return []
    if first not in levels:
        return [where + f'include "{path}": folder {first} is not in tools/layers.toml']
    findings = []
    owner = private_owner(path, settings)
    if owner is not None and owner != file.source_folder:
        findings.append(where + f'"{path}" is private to {owner}/')
    own = levels[file.source_folder]
    if first != file.source_folder and levels[first] >= own:
        relation = "is on the same level" if levels[first] == own else "is a higher level"
        findings.append(where + f"{file.source_folder}/ includes {first}/, which {relation}")
    return findings


def check(files, settings):
    levels = level_of(settings)
    findings = []
    for file in files:
        if not file.is_cpp:
            continue
        if file.source_folder is None:
            findings += check_outside(file, settings)
            continue
        if file.source_folder not in levels:
            findings.append(f"{file.path}:1: folder {file.source_folder} is not in tools/layers.toml")
            continue
        for line, path in includes(file):
            findings += check_include(file, line, path, levels, settings)
        findings += check_subfolders(file, settings)
        for match in ANGLE_INCLUDE.finditer(file.text):
            if match.group(1).split("/")[0] in levels and "/" in match.group(1):
                findings.append(f"{file.path}:{file.text.count(chr(10), 0, match.start()) + 1}: our own header in <>")
    return findings


def check_outside(file, settings):
    """Tests, fuzz targets and benchmarks may use every layer, but only through its front."""
    return [
        f'{file.path}:{line}: "{path}" is private to {private_owner(path, settings)}/'
        for line, path in includes(file)
        if private_owner(path, settings) is not None
    ]
