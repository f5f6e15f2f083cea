"""The daemon's table of words that only qemu-storage-daemon has agrees with the schemas."""

from __future__ import annotations

import unittest

import elsewhere_table
import reference_schema
from elsewhere_table import Elsewhere

from qapic.compare_schema import Introspected


def answer(driver: list[str], members: list[str], commands: tuple[str, ...] = ()) -> Introspected:
    """A schema of nothing but the commands that are looked at."""
    entries = [{"name": "str", "meta-type": "builtin", "json-type": "string"},
               {"name": "driver", "meta-type": "enum", "members": [{"name": name} for name in driver]},
               {"name": "none", "meta-type": "object", "members": []},
               {"name": "branch", "meta-type": "object",
                "members": [{"name": name, "type": "str", "default": None} for name in members]},
               {"name": "node", "meta-type": "object", "tag": "driver",
                "members": [{"name": "driver", "type": "driver"}],
                "variants": [{"case": name, "type": "branch"} for name in driver]}]
    names = (*elsewhere_table.WRITTEN, "chardev-add", *commands)
    return Introspected(entries + [{"name": name, "meta-type": "command", "ret-type": "none",
                                    "arg-type": "node" if name == "blockdev-add" else "none"} for name in names])


class ElsewhereTest(unittest.TestCase):
    def test_the_table_is_as_it_would_be_written(self) -> None:
        with open(elsewhere_table.PATH, encoding="utf-8") as file:
            self.assertEqual(file.read(), elsewhere_table.text(),
                             "write it anew: python3 -B tests/qapic/elsewhere_table.py > src/schema/elsewhere_table.cc")

    def test_each_word_is_theirs_and_not_ours(self) -> None:
        theirs = Introspected(reference_schema.load(reference_schema.versions()[-1]))
        words = Elsewhere(elsewhere_table.ours(), theirs).words
        commands = {word for sort, _, word in words if sort == "Command"}
        self.assertEqual(commands, theirs.names("command") - elsewhere_table.ours().names("command"))
        self.assertIn(("Value", "driver blkdebug", "rbd"), words)
        self.assertIn(("Option", "driver file", "pr-manager"), words)
        self.assertNotIn("raw", {word for _, _, word in words})

    def test_what_is_found(self) -> None:
        ours = answer(["file"], ["filename"])
        theirs = answer(["file", "vmdk"], ["filename", "locking"], commands=("block-stream",))
        self.assertEqual(Elsewhere(ours, theirs).words, {
            ("Command", "", "block-stream"), ("Value", "driver file", "vmdk"), ("Option", "driver file", "locking")})
        self.assertEqual(Elsewhere(theirs, ours).words, set())
        self.assertEqual(Elsewhere(ours, ours).words, set())


if __name__ == "__main__":
    unittest.main()
