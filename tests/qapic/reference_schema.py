"""Recorded results of query-qmp-schema of versions of qemu-storage-daemon: reference/qsd-VERSION.txt.

A file has one entry a line, in the order in which the entries are met; a longer one goes on in indented lines:

    command NAME ARGUMENTS RESULT [oob] [!FEATURE ...]
    event NAME DATA [!FEATURE ...]
    builtin TYPE JSON-TYPE
    array TYPE ELEMENT
    enum TYPE VALUE[!FEATURE] ...
    alternate TYPE ALTERNATIVE ...
    object TYPE MEMBER:TYPE[!FEATURE] MEMBER?:TYPE ... [@TAG VALUE=TYPE ...]

where ? marks an optional member. Names of types mean nothing. A new version is recorded from the program itself:

    python3 tests/qapic/reference_schema.py PROGRAM > tests/qapic/reference/qsd-VERSION.txt
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference")
COLUMNS = 120


def versions() -> list[str]:
    """Those that are recorded, the oldest first."""
    names = [name[len("qsd-"):-len(".txt")] for name in os.listdir(FOLDER) if name.startswith("qsd-")]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def load(version: str) -> list[dict]:
    """The answer of a recorded version, in the form that the program gave it."""
    with open(os.path.join(FOLDER, f"qsd-{version}.txt"), encoding="utf-8") as file:
        return parse(file.read())


def ask(program: str) -> list[dict]:
    """The answer of a program."""
    commands = "".join(json.dumps({"execute": name}) for name in ("qmp_capabilities", "query-qmp-schema", "quit"))
    answered = subprocess.run(
        [program, "--chardev", "stdio,id=c", "--monitor", "c"],
        input=commands, capture_output=True, text=True, timeout=60, check=True,
    )
    replies = [json.loads(line) for line in answered.stdout.splitlines() if line.strip()]
    return next(reply["return"] for reply in replies if isinstance(reply.get("return"), list))


def parse(text: str) -> list[dict]:
    """The entries that a file tells of."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            lines[-1] += line
        elif line and not line.startswith("#"):
            lines.append(line)
    return [_entry(*line.split()) for line in lines]


def _with_features(word: str, **entry) -> dict:
    name, *features = word.split("!")
    return {**entry, "name": name, **({"features": features} if features else {})}


def _member(word: str) -> dict:
    name, _, typed = word.partition(":")
    type_, *features = typed.split("!")
    member = {"name": name.removesuffix("?"), "type": type_, **({"features": features} if features else {})}
    return member | ({"default": None} if name.endswith("?") else {})


def _entry(kind: str, name: str, *rest: str) -> dict:
    words = [word for word in rest if not word.startswith("!") and word != "oob"]
    entry: dict = {"name": name, "meta-type": kind}
    features = [word[1:] for word in rest if word.startswith("!")]
    if features:
        entry["features"] = features
    if kind == "command":
        entry |= {"arg-type": words[0], "ret-type": words[1]} | ({"allow-oob": True} if "oob" in rest else {})
    elif kind == "event":
        entry["arg-type"] = words[0]
    elif kind == "builtin":
        entry["json-type"] = words[0]
    elif kind == "array":
        entry["element-type"] = words[0]
    elif kind == "enum":
        entry["members"] = [_with_features(word) for word in rest]
    elif kind == "alternate":
        entry["members"] = [{"type": word} for word in words]
    else:
        tag = next((index for index, word in enumerate(words) if word.startswith("@")), len(words))
        entry["members"] = [_member(word) for word in words[:tag]]
        if tag < len(words):
            cases = [word.rpartition("=") for word in words[tag + 1:]]
            entry |= {"tag": words[tag][1:], "variants": [{"case": case, "type": type_} for case, _, type_ in cases]}
    return entry


def write(entries: list[dict]) -> str:
    """The lines of a file that tells of these entries."""
    return "\n".join(textwrap.fill(line, COLUMNS, subsequent_indent="  ", break_on_hyphens=False,
                                   break_long_words=False) for line in map(_line, entries)) + "\n"


def _marked(entry: dict) -> str:
    return "".join("!" + feature for feature in entry.get("features", []))


def _line(entry: dict) -> str:
    kind = entry["meta-type"]
    words = [kind, entry["name"]]
    if kind == "command":
        words += [entry["arg-type"], entry["ret-type"]] + (["oob"] if entry.get("allow-oob") else [])
    elif kind == "event":
        words.append(entry["arg-type"])
    elif kind == "builtin":
        words.append(entry["json-type"])
    elif kind == "array":
        words.append(entry["element-type"])
    elif kind == "enum":
        words += [member["name"] + _marked(member) for member in entry["members"]]
    elif kind == "alternate":
        words += [member["type"] for member in entry["members"]]
    else:
        words += [f"{member['name']}{'?' if 'default' in member else ''}:{member['type']}{_marked(member)}"
                  for member in entry["members"]]
        if "tag" in entry:
            words += ["@" + entry["tag"]] + [f"{case['case']}={case['type']}" for case in entry["variants"]]
    return " ".join(words + ["!" + feature for feature in entry.get("features", []) if kind != "enum"])


def record(program: str) -> str:
    """The file that tells of a program."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return f"# query-qmp-schema of {version.splitlines()[0]}\n{write(ask(program))}"


if __name__ == "__main__":
    print(record(sys.argv[1]), end="")
