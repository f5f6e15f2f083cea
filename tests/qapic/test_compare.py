"""Our schema against those of qemu-storage-daemon: every difference is deliberate, with its reason in expected/."""

from __future__ import annotations

import json
import os
import re
import unittest

import reference_schema
from expected_differences import Expected, surprises
from support import ROOT, Features, compile_schema

from qapic.compare_schema import Comparison, Introspected
from qapic.emit.introspect import introspection

HERE = os.path.dirname(os.path.abspath(__file__))


def ours() -> Introspected:
    features = Features.load(os.path.join(ROOT, "schema", "features.json"))
    return Introspected(introspection(compile_schema(os.path.join(ROOT, "schema", "blockexport.json"), features)))


class OurSchema(unittest.TestCase):
    def test_each_recorded_version(self) -> None:
        """Every difference is expected, and every difference that is expected from a version is one."""
        for version in reference_schema.versions():
            with self.subTest(version):
                known = Expected.of_version(version)
                self.assertEqual(surprises(ours(), reference_schema.load(version), known), [])
                self.assertEqual(known.unused(), [], "these are no longer differences")

    def test_the_newest_recorded_version_is_the_one_we_claim(self) -> None:
        """The level of compatibility in the greeting is a version that the schema is compared with."""
        with open(os.path.join(ROOT, "src", "control", "core", "version.h"), encoding="utf-8") as file:
            numbers = re.findall(r"kCompatible\w+ = (\d+);", file.read())
        self.assertEqual(".".join(numbers[:2]), reference_schema.versions()[-1])


class Recorded(unittest.TestCase):
    """The files that tell of a version."""

    def test_each_file_is_as_it_would_be_written(self) -> None:
        for version in reference_schema.versions():
            with open(os.path.join(reference_schema.FOLDER, f"qsd-{version}.txt"), encoding="utf-8") as file:
                lines = file.read().split("\n", 1)
            self.assertIn(f"version {version}.", lines[0])
            self.assertEqual(reference_schema.write(reference_schema.load(version)), lines[1])

    def test_every_kind_of_entry_survives(self) -> None:
        entries = [
            {"name": "go", "meta-type": "command", "arg-type": "1", "ret-type": "2", "allow-oob": True,
             "features": ["deprecated"]},
            {"name": "WENT", "meta-type": "event", "arg-type": "1"},
            {"name": "str", "meta-type": "builtin", "json-type": "string"},
            {"name": "[str]", "meta-type": "array", "element-type": "str"},
            {"name": "3", "meta-type": "enum", "members": [{"name": "a"}, {"name": "b", "features": ["unstable"]}]},
            {"name": "4", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "[str]"}]},
            {"name": "1", "meta-type": "object", "tag": "kind", "features": ["dynamic"],
             "members": [{"name": "kind", "type": "3"},
                         {"name": "x", "type": "str", "default": None, "features": ["deprecated", "unstable"]}],
             "variants": [{"case": "a", "type": "2"}, {"case": "b", "type": "2"}]},
            {"name": "2", "meta-type": "object", "members": []},
        ]
        self.assertEqual(reference_schema.parse(reference_schema.write(entries)), entries)


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
