"""What the newest recorded qemu-storage-daemon has in its schema and ours has not: src/schema/elsewhere_table.cc.

The daemon tells a person with it that a word is right and not built here, instead of calling it a slip. Written anew by

    python3 -B tests/qapic/elsewhere_table.py > src/schema/elsewhere_table.cc
"""

from __future__ import annotations

import os

import reference_schema
from support import ROOT, Features, compile_schema

from qapic.compare_schema import Introspected
from qapic.emit.introspect import introspection

# The commands whose arguments are options of the command line too.
WRITTEN = ("blockdev-add", "block-export-add", "object-add", "nbd-server-start")
PATH = os.path.join(ROOT, "src", "schema", "elsewhere_table.cc")


def ours() -> Introspected:
    """Our schema as the daemon tells it."""
    features = Features.load(os.path.join(ROOT, "schema", "features.json"))
    return Introspected(introspection(compile_schema(os.path.join(ROOT, "schema", "blockexport.json"), features)))


class Elsewhere:
    """Collects (sort, place, word) of all that can be sent to `theirs` and not to `mine`.

    A command has no place. That of an enum's value is the member's name and the first value of ours; that of a member
    the first member of the object, and where it belongs to a branch the value of the tag.
    """

    def __init__(self, mine: Introspected, theirs: Introspected):
        self.mine, self.theirs = mine.entries, theirs.entries
        self.visited: set[tuple[str, str, str]] = set()
        commands = mine.names("command"), theirs.names("command")
        self.words = {("Command", "", name) for name in commands[1] - commands[0]}
        for name in WRITTEN:
            self._type("", self.mine[name]["arg-type"], self.theirs[name]["arg-type"])
        # --chardev has a grammar of its own (daemon/chardev_option.cc); of chardev-add it needs the types alone.
        options = {word for word in self.words if word[0] == "Option"}
        self._type("", self.mine["chardev-add"]["arg-type"], self.theirs["chardev-add"]["arg-type"])
        self.words -= {word for word in self.words if word[0] == "Option"} - options

    def _type(self, member: str, my_name: str, other_name: str) -> None:
        if (member, my_name, other_name) in self.visited:
            return
        self.visited.add((member, my_name, other_name))
        mine, other = self.mine[my_name], self.theirs[other_name]
        if mine["meta-type"] != other["meta-type"]:
            return
        if mine["meta-type"] == "array":
            self._type("", mine["element-type"], other["element-type"])
        elif mine["meta-type"] == "enum":
            names = [value["name"] for value in mine["members"]]
            self.words |= {("Value", f"{member} {names[0]}", value["name"]) for value in other["members"]
                           if value["name"] not in names}
        elif mine["meta-type"] == "object":
            self._object(mine, other)
        elif mine["meta-type"] == "alternate":
            for one, two in zip(self._objects(self.mine, mine), self._objects(self.theirs, other)):
                self._type(member, one, two)

    @staticmethod
    def _objects(entries: dict[str, dict], alternate: dict) -> list[str]:
        return [one["type"] for one in alternate["members"] if entries[one["type"]]["meta-type"] == "object"]

    def _members(self, place: str, mine: dict, other: dict) -> None:
        ours_by_name = {member["name"]: member for member in mine["members"]}
        for member in other["members"]:
            name = member["name"]
            if name in ours_by_name:
                self._type(name, ours_by_name[name]["type"], member["type"])
            else:
                self.words.add(("Option", place, name))

    def _object(self, mine: dict, other: dict) -> None:
        first = mine["members"][0]["name"] if mine["members"] else ""
        self._members(first, mine, other)
        theirs = {variant["case"]: variant["type"] for variant in other.get("variants", [])}
        for variant in mine.get("variants", []):
            if variant["case"] in theirs:
                branch, their_branch = self.mine[variant["type"]], self.theirs[theirs[variant["case"]]]
                self._members(f"{first} {variant['case']}", branch, their_branch)


def text() -> str:
    """The source file."""
    version = reference_schema.versions()[-1]
    words = Elsewhere(ours(), Introspected(reference_schema.load(version))).words
    lines = "".join(f'    {{Sort::k{sort}, "{place}", "{word}"}},\n' for sort, place, word in sorted(words))
    return (
        f"// What the schema of qemu-storage-daemon {version} has and ours has not, sorted.\n"
        "//\n"
        "// Written by tests/qapic/elsewhere_table.py, never by hand; the test qapic.elsewhere compares.\n"
        '#include "schema/elsewhere.h"\n'
        "\n"
        "namespace blockexport::schema {\n"
        "namespace {\n"
        "\n"
        "using Sort = ElsewhereSort;\n"
        "\n"
        "constexpr ElsewhereWord kWords[] = {\n"
        f"{lines}"
        "};\n"
        "\n"
        "}  // namespace\n"
        "\n"
        f'const std::string_view kElsewhereVersion = "{version}";\n'
        "\n"
        "std::span<const ElsewhereWord> elsewhere_words() {\n"
        "  return kWords;\n"
        "}\n"
        "\n"
        "}  // namespace blockexport::schema\n"
    )


if __name__ == "__main__":
    print(text(), end="")
