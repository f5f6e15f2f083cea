"""The compiler, besides messages and golden output: includes, lists of files, documentation, introspection."""

from __future__ import annotations

import contextlib
import io
import os
import unittest

from support import SchemaTest

from qapic.emit.docs import emit_docs
from qapic.emit.introspect import introspection
from qapic.main import list_files, main, write_files


class Files(SchemaTest):
    def test_a_file_is_included_once(self) -> None:
        self.write("{ 'struct': 'Bar', 'data': {} }", "bar.json")
        self.write("{ 'include': 'bar.json' }\n{ 'include': 'schema.json' }", "baz.json")
        schema = self.compile("{ 'include': 'bar.json' }\n{ 'include': 'baz.json' }\n{ 'include': 'bar.json' }")
        self.assertEqual([module.name for module in schema.modules], ["bar", "baz", "schema"])
        self.assertIn("Bar", schema.entities)

    def test_definitions_may_stand_in_any_order(self) -> None:
        files = self.generate("{ 'struct': 'A', 'data': { 'b': 'B' } }".replace("'A'", "'Aa'").replace("'B'", "'Bb'")
                              + "{ 'struct': 'Bb', 'data': {} }")
        header = files["schema.h"]
        self.assertLess(header.index("struct Bb {"), header.index("struct Aa {"))

    def test_the_list_of_files_is_what_comes_out(self) -> None:
        self.write("{ 'struct': 'Bar', 'data': {} }", "only-types.json")
        self.write("{ 'pragma': {} }", "only-pragma.json")
        text = "{ 'include': 'only-types.json' }\n{ 'include': 'only-pragma.json' }\n{ 'command': 'foo', 'if': 'GONE' }"
        produced = set(self.generate(text, {"GONE": False}))
        listed = list_files("schema.json")
        self.assertEqual(set(listed["types"]) | set(listed["commands"]), produced)
        self.assertEqual([os.path.basename(path) for path in listed["inputs"]],
                         ["only-types.json", "only-pragma.json", "schema.json"])

    def test_unchanged_files_are_left_alone(self) -> None:
        write_files("out", {"a.h": "one"})
        os.utime("out/a.h", (1, 1))
        write_files("out", {"a.h": "one", "b.h": "two"})
        self.assertEqual(os.stat("out/a.h").st_mtime, 1)
        write_files("out", {"a.h": "three"})
        self.assertNotEqual(os.stat("out/a.h").st_mtime, 1)

    def test_the_command_line_tells_errors_and_fails(self) -> None:
        self.write("{ 'struct': 'Foo' }")
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint):
            self.assertEqual(main(["schema.json"]), 1)
        self.assertEqual(complaint.getvalue(), "schema.json:1: In struct 'Foo': 'data' is missing\n")
        self.write("{ 'struct': 'Foo', 'data': {} }")
        self.assertEqual(main(["schema.json", "--output", "out", "--docs", "docs"]), 0)
        self.assertTrue(os.path.exists("out/schema.h"))
        self.assertTrue(os.path.exists("docs/schema.md"))


class Documentation(SchemaTest):
    TEXT = """
##
# = A chapter
#
# Some words.
##

##
# @do-it:
#
# Do it now.  With more
# words about @force.
#
# @force: Even if it
#     hurts.
#
# @when: When to.
#
# Features:
#
# @unstable: May change.
#
# Returns: nothing
#
# Errors:
#     - If it cannot be done
#
# TODO: think
#
# Since: 1.0
#
# Example:
#
#     -> { "execute": "do-it" }
##
{ 'command': 'do-it', 'data': { 'force': 'bool', '*when': 'int' }, 'features': [ 'unstable' ] }
"""

    def test_reference_page(self) -> None:
        page = emit_docs(self.compile(self.TEXT))["schema.md"]
        self.assertIn("## A chapter\n\nSome words.", page)
        self.assertIn("## Command do-it", page)
        self.assertIn("words about `force`.", page)
        self.assertIn("- `force` (`bool`): Even if it hurts.", page)
        self.assertIn("- `when` (optional `int`): When to.", page)
        self.assertIn("**unstable**: May change.", page)
        self.assertIn("- If it cannot be done", page)
        self.assertIn('```\n    -> { "execute": "do-it" }\n```', page)
        self.assertNotIn("think", page)

    def test_summary_goes_to_the_header(self) -> None:
        header = self.generate(self.TEXT)["schema_commands.h"]
        self.assertIn("// Do it now.\n", header)


class Introspection(SchemaTest):
    def test_only_what_is_reached_is_told(self) -> None:
        entries = introspection(self.compile("{ 'struct': 'Foo', 'data': {} }"))
        self.assertEqual(entries, [])

    def test_sizes_of_integers_do_not_show(self) -> None:
        text = "{ 'command': 'foo', 'data': { 'a': 'uint8', 'b': 'size', 'c': [ 'int16' ], 'd': 'number' } }"
        entries = {entry["name"]: entry for entry in introspection(self.compile(text))}
        members = entries[entries["foo"]["arg-type"]]["members"]
        self.assertEqual([member["type"] for member in members], ["int", "int", "[int]", "number"])
        self.assertEqual(entries["int"], {"name": "int", "meta-type": "builtin", "json-type": "int"})

    def test_names_of_types_are_hidden(self) -> None:
        text = "{ 'struct': 'Secret', 'data': { 'a': [ 'Secret' ] } }{ 'command': 'foo', 'data': 'Secret' }"
        self.assertNotIn("Secret", str(introspection(self.compile(text))))

    def test_out_of_band_is_told(self) -> None:
        entries = introspection(self.compile("{ 'command': 'foo', 'allow-oob': true }{ 'command': 'bar' }"))
        self.assertEqual(entries[0]["allow-oob"], True)
        self.assertNotIn("allow-oob", entries[1])


if __name__ == "__main__":
    unittest.main()
