"""Compares two answers to query-qmp-schema by their structure, and tells every difference.

Names of types mean nothing in them, so types are followed by reference from the commands and events that both have.
A difference is one line, "PATH: what", where PATH begins with the command: `blockdev-add.file.aio: ...`. Differences
that are meant stand in a file with their reasons: lines "PATTERN | REASON", where * in a pattern stands for anything.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys


class Introspected:
    """One answer: its entries by name."""

    def __init__(self, entries: list[dict]):
        self.entries = {entry["name"]: entry for entry in entries}

    def names(self, meta_type: str) -> set[str]:
        return {name for name, entry in self.entries.items() if entry["meta-type"] == meta_type}


def load(path: str) -> Introspected:
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    return Introspected(data["return"] if isinstance(data, dict) else data)


class Comparison:
    """Collects the differences of `ours` against `theirs`."""

    def __init__(self, ours: Introspected, theirs: Introspected):
        self.ours = ours
        self.theirs = theirs
        self.differences: list[str] = []
        self.visited: set[tuple[str, str]] = set()

    def run(self) -> list[str]:
        for kind in ("command", "event"):
            mine, other = self.ours.names(kind), self.theirs.names(kind)
            self.differences += [f"{name}: only they have this {kind}" for name in sorted(other - mine)]
            self.differences += [f"{name}: only we have this {kind}" for name in sorted(mine - other)]
            for name in sorted(mine & other):
                self._entry(name, self.ours.entries[name], self.theirs.entries[name])
        return self.differences

    def _tell(self, path: str, what: str) -> None:
        self.differences.append(f"{path}: {what}")

    def _features(self, path: str, mine: dict, other: dict) -> None:
        ours, theirs = set(mine.get("features", [])), set(other.get("features", []))
        for feature in sorted(theirs - ours):
            self._tell(path, f"only they have feature {feature}")
        for feature in sorted(ours - theirs):
            self._tell(path, f"only we have feature {feature}")

    def _entry(self, name: str, mine: dict, other: dict) -> None:
        self._features(name, mine, other)
        if mine.get("allow-oob", False) != other.get("allow-oob", False):
            self._tell(name, "allow-oob differs")
        self._type(name, mine["arg-type"], other["arg-type"])
        if "ret-type" in mine:
            self._type(f"{name} ->", mine["ret-type"], other["ret-type"])

    def _type(self, path: str, my_name: str, other_name: str) -> None:
        if (my_name, other_name) in self.visited:
            return
        self.visited.add((my_name, other_name))
        mine, other = self.ours.entries[my_name], self.theirs.entries[other_name]
        if mine["meta-type"] != other["meta-type"]:
            self._tell(path, f"we have {_describe(mine)}, they have {_describe(other)}")
            return
        self._features(path, mine, other)
        kind = mine["meta-type"]
        if kind == "builtin" and mine["json-type"] != other["json-type"]:
            self._tell(path, f"we have {mine['json-type']}, they have {other['json-type']}")
        elif kind == "array":
            self._type(path + "[]", mine["element-type"], other["element-type"])
        elif kind == "enum":
            self._enum(path, mine, other)
        elif kind == "object":
            self._object(path, mine, other)
        elif kind == "alternate":
            self._alternate(path, mine, other)

    def _named(self, path: str, what: str, mine: dict[str, dict], other: dict[str, dict]) -> list[str]:
        """Tells which names only one side has; returns the common ones, in our order."""
        for name in other:
            if name not in mine:
                self._tell(f"{path}.{name}", f"only they have this {what}")
        for name in mine:
            if name not in other:
                self._tell(f"{path}.{name}", f"only we have this {what}")
        return [name for name in mine if name in other]

    def _enum(self, path: str, mine: dict, other: dict) -> None:
        ours = {member["name"]: member for member in mine["members"]}
        theirs = {member["name"]: member for member in other["members"]}
        for name in self._named(path, "value", ours, theirs):
            self._features(f"{path}.{name}", ours[name], theirs[name])

    def _object(self, path: str, mine: dict, other: dict) -> None:
        ours = {member["name"]: member for member in mine["members"]}
        theirs = {member["name"]: member for member in other["members"]}
        for name in self._named(path, "member", ours, theirs):
            self._features(f"{path}.{name}", ours[name], theirs[name])
            if ("default" in ours[name]) != ("default" in theirs[name]):
                self._tell(f"{path}.{name}", "only one side has it optional")
            self._type(f"{path}.{name}", ours[name]["type"], theirs[name]["type"])
        if mine.get("tag") != other.get("tag"):
            self._tell(path, f"our tag is {mine.get('tag')}, theirs is {other.get('tag')}")
            return
        my_cases = {variant["case"]: variant["type"] for variant in mine.get("variants", [])}
        other_cases = {variant["case"]: variant["type"] for variant in other.get("variants", [])}
        # Cases that only one side has are values that only one side's enum has: told there.
        for case in my_cases:
            if case in other_cases:
                self._type(f"{path}({case})", my_cases[case], other_cases[case])

    def _alternate(self, path: str, mine: dict, other: dict) -> None:
        ours = {self._shape(self.ours, member["type"]): member["type"] for member in mine["members"]}
        theirs = {self._shape(self.theirs, member["type"]): member["type"] for member in other["members"]}
        for shape in self._named(path, "alternative", dict.fromkeys(ours, {}), dict.fromkeys(theirs, {})):
            self._type(f"{path}.{shape}", ours[shape], theirs[shape])

    @staticmethod
    def _shape(side: Introspected, name: str) -> str:
        """The alternatives of an alternate look different: that is how they are matched."""
        entry = side.entries[name]
        return entry.get("json-type", "string" if entry["meta-type"] == "enum" else entry["meta-type"])


def _describe(entry: dict) -> str:
    return f"a {entry['meta-type']}" + (f" ({entry['json-type']})" if "json-type" in entry else "")


class Expected:
    """The differences that are meant, with their reasons."""

    def __init__(self, lines: list[str]):
        self.patterns: list[tuple[str, str]] = []
        for line in lines:
            if line.strip() and not line.startswith("#"):
                pattern, separator, reason = line.partition(" | ")
                if not separator or not reason.strip():
                    raise ValueError(f"an expected difference needs a reason: {line.strip()}")
                self.patterns.append((pattern.strip(), reason.strip()))
        self.used: set[str] = set()

    def reason(self, difference: str) -> str | None:
        for pattern, reason in self.patterns:
            # Brackets are part of paths, not of patterns.
            if fnmatch.fnmatchcase(difference, pattern.replace("[", "[[]")):
                self.used.add(pattern)
                return reason
        return None

    def unused(self) -> list[str]:
        return [pattern for pattern, _ in self.patterns if pattern not in self.used]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--expected", help="file of differences that are meant")
    options = parser.parse_args(arguments)
    expected = Expected([])
    if options.expected:
        with open(options.expected, encoding="utf-8") as file:
            expected = Expected(file.readlines())
    surprises = 0
    for difference in Comparison(load(options.ours), load(options.theirs)).run():
        reason = expected.reason(difference)
        surprises += reason is None
        print(f"{difference}  [{reason or 'UNEXPECTED'}]")
    for pattern in expected.unused():
        print(f"no longer a difference: {pattern}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
