"""Shared code of the tests of the schema compiler: its modules, and schemas in the tests' text."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tools"))

from qapic.condition import Features  # noqa: E402
from qapic.errors import SchemaError  # noqa: E402
from qapic.main import compile_schema, generate  # noqa: E402


class SchemaTest(unittest.TestCase):
    """Runs each test in a folder of its own, so that messages name files as they were given."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)

    def write(self, text: str, name: str = "schema.json") -> None:
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)

    def compile(self, text: str, features: dict[str, bool] | None = None):
        self.write(text)
        return compile_schema("schema.json", Features(features))

    def generate(self, text: str, features: dict[str, bool] | None = None) -> dict[str, str]:
        return generate(self.compile(text, features), "schema")

    def error(self, text: str, features: dict[str, bool] | None = None) -> str:
        """The message that a wrong schema causes."""
        with self.assertRaises(SchemaError) as caught:
            self.generate(text, features)
        return str(caught.exception)
