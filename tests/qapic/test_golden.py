"""The compiler's complete output for small schemas, compared with files. QAPIC_UPDATE_GOLDEN=1 updates them."""

from __future__ import annotations

import difflib
import json
import os
import unittest

from support import Features, SchemaTest, compile_schema, generate

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")
CONDITIONS = Features({"YES": True, "NO": False})


def everything(path: str) -> str:
    """All files that come out, one after the other, and introspection as readable JSON."""
    from qapic.emit.docs import emit_docs
    from qapic.emit.introspect import introspection

    schema = compile_schema(path, CONDITIONS)
    files = generate(schema, "schema")
    del files["introspection.cc"], files["introspection.h"], files["command_table.h"]
    files |= emit_docs(schema)
    files["introspection.json"] = "".join(json.dumps(entry) + "\n" for entry in introspection(schema))
    return "".join(f"=== {name}\n{text}" for name, text in files.items())


class Golden(SchemaTest):
    def check(self, name: str) -> None:
        actual = everything(os.path.join(GOLDEN, name + ".json"))
        path = os.path.join(GOLDEN, name + ".golden")
        if os.environ.get("QAPIC_UPDATE_GOLDEN"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(actual)
        with open(path, encoding="utf-8") as file:
            expected = file.read()
        difference = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "expected", "actual", lineterm="")
        self.assertEqual(actual, expected, "\n".join(difference))

    def test_structs(self) -> None:
        self.check("structs")

    def test_unions(self) -> None:
        self.check("unions")

    def test_commands(self) -> None:
        self.check("commands")

    def test_properties(self) -> None:
        self.check("properties")

    def test_conditions(self) -> None:
        self.check("conditions")

    def test_output_is_the_same_every_time(self) -> None:
        path = os.path.join(GOLDEN, "unions.json")
        self.assertEqual(everything(path), everything(path))


if __name__ == "__main__":
    unittest.main()
