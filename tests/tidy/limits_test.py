"""Limits and the page that lists them."""

import unittest

from tidy_case import TidyCase

from tidy_rules import limits

PAGE = "docs/limits.md"
PATH = "src/a/a.h"


class LimitsTest(TidyCase):
    def test_listed(self):
        self.assert_clean(limits, {PATH: "inline constexpr int kClientsMax = 3;\n", PAGE: "| 3 | `kClientsMax` |\n"})
        self.assert_clean(limits, {PATH: "struct A {\n  static constexpr int kBytesMax = 3;\n};\n",
                                   PAGE: "`A::kBytesMax`\n"})

    def test_not_listed(self):
        for text in ("inline constexpr std::size_t kClientsMax = 1u << 20;\n", "constexpr int kClientsMax{3};\n"):
            self.assert_one(limits, {PATH: text, PAGE: "| clients |\n"}, f"{PATH}:1:", "kClientsMax is not in docs")

    def test_computed_from_others(self):
        self.assert_clean(limits, {PATH: "constexpr int kReplyMax = kHeadBytes + kTextBytes;\n", PAGE: ""})

    def test_of_tests_and_simulations(self):
        text = "constexpr int kClientsMax = 3;\n"
        self.assert_clean(limits, {"src/a/a_test.cc": text, "src/a/testing/a.h": text, "src/aio/sim/a.cc": text,
                                   "fuzz/a.cc": text, PAGE: ""})

    def test_listed_and_gone(self):
        self.assert_one(limits, {PATH: "constexpr int kOther = 1;\n", PAGE: "# Limits\n\n`kClientsMax`\n"},
                        f"{PAGE}:3:", "kClientsMax is not in src/")


if __name__ == "__main__":
    unittest.main()
