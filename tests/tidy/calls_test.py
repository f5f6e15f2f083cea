"""Banned calls."""

import unittest

from tidy_case import TidyCase

from tidy_rules import calls


class CallsTest(TidyCase):
    def test_shrinking(self):
        self.assert_one(calls, {"src/a/a.cc": "void f() {\n  input.shrink_to_fit();\n}\n"}, "src/a/a.cc:2:",
                        "release_memory")

    def test_printing(self):
        self.assert_one(calls, {"src/a/a.cc": 'void f() {\n  fmt::print("x");\n}\n'}, "src/a/a.cc:2:", "base/print.h")
        self.assert_clean(calls, {"src/a/a.cc": 'void f() {\n  print(stdout, "x");\n}\n'})

    def test_comments_are_free(self):
        self.assert_clean(calls, {"src/a/a.cc": "// not shrink_to_fit()\n"})


if __name__ == "__main__":
    unittest.main()
