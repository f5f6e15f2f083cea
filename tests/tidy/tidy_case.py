"""Shared code of the tests of tidy: a tree of a few files in a private directory, and one rule's findings about it."""

import pathlib
import shutil
import sys
import tempfile
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from tidy_rules import tree  # noqa: E402  (the path must be known first)


class TidyCase(unittest.TestCase):
    """Gives each test an empty tree and the settings that the project itself is checked with."""

    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="tidy-test-")
        self.addCleanup(place.cleanup)
        self.root = pathlib.Path(place.name)
        self.settings = tomllib.loads((ROOT / "tools/layers.toml").read_text(encoding="utf-8"))
        self.settings["excused_files"] = {}
        self.settings["excused_functions"] = {}

    def write(self, path, content):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")

    def findings(self, rule, files):
        """The findings of a rule's module about a tree of {path: content}; what an earlier call wrote is gone."""
        for entry in self.root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for path, content in files.items():
            self.write(path, content)
        return rule.check(tree.load(self.root), self.settings)

    def assert_clean(self, rule, files):
        self.assertEqual(self.findings(rule, files), [])

    def assert_one(self, rule, files, start, words):
        """Exactly one finding, at `path:line:`, that contains the words."""
        found = self.findings(rule, files)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(start), found[0])
        self.assertIn(words, found[0])
