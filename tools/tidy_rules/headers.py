"""Each header of src/ compiles alone, and twice in a row: it includes what it uses and guards itself."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess

from . import layers

JOBS = 2
COMPILE_LIMIT_S = 300
# Options that say where output goes or that slow a check down without changing what is valid.
DROPPED = re.compile(r"-O\w*|-g\w*|-fsanitize.*|-fno-sanitize.*|-M\w*|-c")
COMPILER = re.compile(r"(clang|g)\+\+[-\d.]*$")
DROPPED_WITH_VALUE = {"-o", "-MF", "-MT", "-MQ"}


def compiler_options(build):
    """folder -> (compiler, options) from compile_commands.json: how a file of that folder is compiled; "" is any."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        words = entry.get("arguments") or shlex.split(entry["command"])
        start = next((number for number, word in enumerate(words) if COMPILER.search(word)), None)
        if start is None:
            continue
        kept = []
        following = iter(words[start + 1 :])
        for word in following:
            if word in DROPPED_WITH_VALUE:
                next(following, None)
            elif not DROPPED.fullmatch(word) and not word.endswith((".cc", ".cpp", ".o")):
                kept.append(word)
        folder = pathlib.PurePosixPath(entry["file"]).parent.as_posix()
        found.setdefault(folder, (words[start], kept))
        found.setdefault("", (words[start], kept))
    return found


def fingerprints(files):
    """path as included -> hash over a header and all of our own headers that it reaches."""
    texts = {file.source_path: file for file in files if file.is_header and file.source_folder}

    def reach(path, seen):
        if path in seen or path not in texts:
            return
        seen.add(path)
        for _, included in layers.includes(texts[path]):
            reach(included, seen)

    result = {}
    for path in texts:
        seen = set()
        reach(path, seen)
        digest = hashlib.sha256()
        for name in sorted(seen):
            digest.update(name.encode() + b"\0" + texts[name].text.encode() + b"\0")
        result[path] = digest
    return result


def compile_alone(path, compiler, options):
    """None, or the first lines of what the compiler says against the header."""
    command = [compiler, *options, "-fsyntax-only", "-x", "c++", "-"]
    twice = f'#include "{path}"\n' * 2
    run = subprocess.run(command, input=twice, capture_output=True, text=True, timeout=COMPILE_LIMIT_S, check=False,
                         env={**os.environ, "LC_ALL": "C"})
    return None if run.returncode == 0 else "\n".join(run.stderr.splitlines()[:6])


def options_for(path, known, root):
    folder = (root / "src" / path).parent
    while folder != root:
        if folder.as_posix() in known:
            return known[folder.as_posix()]
        folder = folder.parent
    return known[""]


def check(files, root, build):
    """Findings for headers that do not compile; those seen good before (same content, same options) are skipped."""
    root = root.resolve()
    known = compiler_options(build)
    cache = build / "tidy-headers"
    cache.mkdir(exist_ok=True)
    findings = []
    waiting = {}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for path, digest in fingerprints(files).items():
            compiler, options = options_for(path, known, root)
            digest.update("\0".join([compiler, *options]).encode())
            mark = cache / digest.hexdigest()
            if not mark.exists():
                waiting[pool.submit(compile_alone, path, compiler, options)] = (path, mark)
        for done in concurrent.futures.as_completed(waiting):
            path, mark = waiting[done]
            problem = done.result()
            if problem is None:
                mark.touch()
            else:
                findings.append(f"src/{path}:1: does not compile alone:\n{problem}")
    return findings
