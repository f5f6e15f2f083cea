"""Our schema against the one of qemu-storage-daemon: every difference is meant, and has its reason in expected/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unittest

from support import ROOT, Features, compile_schema

from qapic.compare_schema import Comparison, Expected, Introspected, load
from qapic.emit.introspect import introspection

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get("BLOCKEXPORT_SHARED", os.path.join(ROOT, "..", "shared"))
FACTS = os.path.join(SHARED, "facts", "qsd-10.0-qmp-schema.json")
DAEMON = shutil.which("qemu-storage-daemon")


def ours() -> Introspected:
    features = Features.load(os.path.join(ROOT, "schema", "features.json"))
    return Introspected(introspection(compile_schema(os.path.join(ROOT, "schema", "blockexport.json"), features)))


def expected(*names: str) -> Expected:
    lines: list[str] = []
    for name in names:
        with open(os.path.join(HERE, "expected", name), encoding="utf-8") as file:
            lines += file.readlines()
    return Expected(lines)


def ask_daemon() -> Introspected:
    """What the packaged daemon answers."""
    commands = "".join(json.dumps({"execute": name}) for name in ("qmp_capabilities", "query-qmp-schema", "quit"))
    answered = subprocess.run(
        [DAEMON, "--chardev", "stdio,id=c", "--monitor", "c"],
        input=commands, capture_output=True, text=True, timeout=30, check=True,
    )
    replies = [json.loads(line) for line in answered.stdout.splitlines() if line.strip()]
    return Introspected(next(reply["return"] for reply in replies if isinstance(reply.get("return"), list)))


class OurSchema(unittest.TestCase):
    def check(self, theirs: Introspected, known: Expected, complete: bool) -> None:
        differences = Comparison(ours(), theirs).run()
        surprises = [difference for difference in differences if known.reason(difference) is None]
        self.assertEqual(surprises, [])
        if complete:
            self.assertEqual(known.unused(), [], "these are no longer differences")

    @unittest.skipUnless(os.path.exists(FACTS), "the recorded schema of 10.0 is not there")
    def test_against_version_10(self) -> None:
        self.check(load(FACTS), expected("qsd-10.0.txt"), complete=True)

    @unittest.skipUnless(DAEMON, "qemu-storage-daemon is not installed")
    def test_against_the_packaged_daemon(self) -> None:
        self.check(ask_daemon(), expected("qsd-10.0.txt", "qsd-older.txt"), complete=False)


class Compare(unittest.TestCase):
    """The comparison itself."""

    BASE = [
        {"name": "foo", "meta-type": "command", "arg-type": "1", "ret-type": "2"},
        {"name": "1", "meta-type": "object", "members": [{"name": "a", "type": "str"}]},
        {"name": "2", "meta-type": "object", "members": []},
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
        {"name": "int", "meta-type": "builtin", "json-type": "int"},
    ]

    def differences(self, change) -> list[str]:
        mine, other = json.loads(json.dumps(self.BASE)), json.loads(json.dumps(self.BASE))
        change(other)
        return Comparison(Introspected(mine), Introspected(other)).run()

    def test_numbers_of_types_do_not_matter(self) -> None:
        def renumber(entries: list[dict]) -> None:
            entries[0]["arg-type"] = entries[1]["name"] = "77"

        self.assertEqual(self.differences(renumber), [])

    def test_each_kind_of_difference_is_told(self) -> None:
        def optional(entries: list[dict]) -> None:
            entries[1]["members"][0]["default"] = None

        def other_type(entries: list[dict]) -> None:
            entries[1]["members"][0]["type"] = "int"

        def more(entries: list[dict]) -> None:
            entries[1]["members"].append({"name": "b", "type": "str"})

        def feature(entries: list[dict]) -> None:
            entries[0]["features"] = ["deprecated"]

        self.assertEqual(self.differences(optional), ["foo.a: only one side has it optional"])
        self.assertEqual(self.differences(other_type), ["foo.a: we have string, they have int"])
        self.assertEqual(self.differences(more), ["foo.b: only they have this member"])
        self.assertEqual(self.differences(feature), ["foo: only they have feature deprecated"])
        self.assertEqual(self.differences(lambda entries: entries.pop(0)), ["foo: only we have this command"])

    def test_expected_differences_need_reasons(self) -> None:
        with self.assertRaises(ValueError):
            Expected(["foo: something"])
        known = Expected(["# comment", "foo ->[].*: only they have * | not built"])
        self.assertEqual(known.reason("foo ->[].a: only they have this member"), "not built")
        self.assertIsNone(known.reason("foo ->[].a: only we have this member"))


if __name__ == "__main__":
    unittest.main()
