"""Each wrong schema of errors.txt gets its message, with file and line."""

from __future__ import annotations

import os
import unittest

from support import SchemaTest

HERE = os.path.dirname(os.path.abspath(__file__))


def cases() -> list[tuple[str, str, str]]:
    """Name, schema, expected message."""
    with open(os.path.join(HERE, "errors.txt"), encoding="utf-8") as file:
        blocks = file.read().split("=== ")[1:]
    found = []
    for block in blocks:
        name, rest = block.split("\n", 1)
        schema, message = rest.split("---\n", 1)
        found.append((name, schema, message.strip()))
    return found


class Errors(SchemaTest):
    def test_messages(self) -> None:
        known = cases()
        self.assertGreater(len(known), 80)
        for name, schema, message in known:
            with self.subTest(name):
                self.assertEqual(self.error(schema, {"A": True}), message)

    def test_bytes_that_are_not_utf8(self) -> None:
        with open("schema.json", "wb") as file:
            file.write(b"\n# \xff\n")
        from qapic.errors import SchemaError
        from qapic.main import parse

        with self.assertRaises(SchemaError) as caught:
            parse("schema.json")
        self.assertEqual(str(caught.exception), "schema.json:2: this is not UTF-8")

    def test_nesting_is_limited(self) -> None:
        self.assertEqual(self.error("{ 'struct': " + "[" * 10_000), "schema.json:1: nested too deeply")

    def test_long_chains_are_limited(self) -> None:
        bases = [f"{{ 'struct': 'Foo{i}', 'base': 'Foo{i + 1}', 'data': {{}} }}" for i in range(2000)]
        self.assertEqual(
            self.error("\n".join(bases) + "{ 'struct': 'Foo2000', 'data': {} }"),
            "schema.json:1: In struct 'Foo0': it stands on more than 30 bases",
        )
        unions = []
        for i in range(2000):
            unions.append(f"{{ 'enum': 'Kind{i}', 'data': [ 'v{i}' ] }}")
            base = f"'base': {{ 'm{i}': 'Kind{i}' }}, 'discriminator': 'm{i}'"
            unions.append(f"{{ 'union': 'Foo{i}', {base}, 'data': {{ 'v{i}': 'Foo{i + 1}' }} }}")
        self.assertEqual(
            self.error("\n".join(unions) + "{ 'struct': 'Foo2000', 'data': {} }"),
            "schema.json:64: In union 'Foo31': unions are nested more than 30 deep",
        )

    def test_many_files_are_refused(self) -> None:
        for i in range(200):
            self.write(f"{{ 'include': 'file{i + 1}.json' }}", f"file{i}.json")
        self.assertEqual(
            self.error("{ 'include': 'file0.json' }"), "file98.json:1: the schema has more than 100 files"
        )

    def test_circles_of_files(self) -> None:
        self.write("{ 'include': 'schema.json' }\n{ 'struct': 'Bar', 'data': { 'f': 'Foo' } }", "bar.json")
        text = "{ 'include': 'bar.json' }\n{ 'struct': 'Foo', 'data': {} }\n{ 'struct': 'Baz', 'data': { 'b': 'Bar' } }"
        self.assertEqual(
            self.error(text), "bar.json:2: files need each other's types in a circle: bar -> schema -> bar"
        )

    def test_errors_in_included_files_name_them(self) -> None:
        os.mkdir("sub")
        self.write("\n{ 'struct': 'Bar' }", "sub/bar.json")
        error = self.error("{ 'include': 'sub/bar.json' }")
        self.assertEqual(error, "sub/bar.json:2: In struct 'Bar': 'data' is missing")


if __name__ == "__main__":
    unittest.main()
