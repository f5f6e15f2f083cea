"""Sizes of files and functions, and the ratchet."""

import unittest

from tidy_case import TidyCase

from tidy_rules import sizes


def function_of(lines):
    return "void long_one() {\n" + "  call();\n" * (lines - 2) + "}\n"


class SizesTest(TidyCase):
    def test_at_the_limit(self):
        self.assert_clean(sizes, {"src/a/a.cc": function_of(70), "src/a/b.cc": "int a;\n" * 800})

    def test_long_function(self):
        self.assert_one(sizes, {"src/a/a.cc": "\n" + function_of(71)}, "src/a/a.cc:2:", "long_one has 71 lines")

    def test_long_python_function(self):
        text = "def work():\n" + "    pass\n" * 70
        self.assert_one(sizes, {"tools/a.py": text}, "tools/a.py:1:", "work has 71 lines")

    def test_long_file(self):
        self.assert_one(sizes, {"src/a/a.cc": "int a;\n" * 801}, "src/a/a.cc:1:", "801 lines")

    def test_prose_may_be_long(self):
        self.assert_clean(sizes, {"docs/a.md": "words\n" * 2000})

    def test_excused(self):
        self.settings["excused_functions"] = {"src/a/a.cc:long_one": 75}
        self.assert_clean(sizes, {"src/a/a.cc": function_of(75)})

    def test_excused_may_not_grow(self):
        self.settings["excused_functions"] = {"src/a/a.cc:long_one": 75}
        self.assert_one(sizes, {"src/a/a.cc": function_of(76)}, "src/a/a.cc:1:", "limit 75")

    def test_excuse_shrinks_with_the_function(self):
        self.settings["excused_functions"] = {"src/a/a.cc:long_one": 75}
        self.assert_one(sizes, {"src/a/a.cc": function_of(72)}, "src/a/a.cc:1:", "lower its excuse to 72")
        self.assert_one(sizes, {"src/a/a.cc": function_of(60)}, "src/a/a.cc:1:", "remove its excuse")

    def test_excuse_of_a_file_that_is_gone(self):
        self.settings["excused_files"] = {"src/a/gone.cc": 900}
        self.assert_one(sizes, {"src/a/a.cc": ""}, "tools/layers.toml:1:", "is gone")


if __name__ == "__main__":
    unittest.main()
