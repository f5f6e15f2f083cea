"""Rules of the NBD protocol and the page that lists them."""

import unittest

from tidy_case import TidyCase

from tidy_rules import cited_rules

PAGE = "docs/nbd-rules.md"
TEST = "tests/nbd/a_test.py"


class CitedRulesTest(TidyCase):
    def test_listed_and_tested(self):
        text = "- **R1** A string has no NUL.\n- **R22** Bye.\n"
        for path, citation in ((TEST, '"""R1 R22: as told."""\n'), ("tests/lib/a.py", 'check("R1, R22")\n'),
                               ("src/a/a_test.cc", "TEST(A, R1_R22_as_told) {}\n")):
            self.assert_clean(cited_rules, {PAGE: text, path: citation})

    def test_cited_and_not_listed(self):
        text = "See R3.\n\n- **R1** A string has no NUL.\n"
        for path, citation in ((TEST, "# R1\n# R3\n"), ("src/a/a.cc", "\n// (R3)\n"),
                               ("src/a/a_test.cc", "\nR3_is_kept\n")):
            self.assert_one(cited_rules, {PAGE: text, "tests/one_test.py": "# R1\n", path: citation},
                            f"{path}:2:", f"R3 is not in {PAGE}")

    def test_listed_and_not_tested(self):
        files = {PAGE: "# Rules\n\n- **R1** A string has no NUL.\n", "src/a/a.cc": "// R1\n", "docs/a.md": "R1\n",
                 "tests/tidy/a_test.py": "# R1\n"}
        self.assert_one(cited_rules, files, f"{PAGE}:3:", "no test cites R1")

    def test_listed_twice(self):
        self.assert_one(cited_rules, {PAGE: "- **R1** So.\n- **R1** Or so.\n", TEST: "# R1\n"}, f"{PAGE}:2:", "twice")

    def test_range(self):
        text = "- **R1** So.\n- **R2** Or so.\n- **R3** Or so.\n"
        for citation in ("R1-R3", "R1..R3", "R1-3", "R1_to_R3_are_kept"):
            self.assert_one(cited_rules, {PAGE: text, TEST: f"# R1 R2 R3\n# {citation}\n"}, f"{TEST}:2:", "is a range")

    def test_what_is_no_citation(self):
        self.assert_clean(cited_rules, {PAGE: "", TEST: "SIGUSR1 VAR2 R2D2 R1000 xR1 R\n"})

    def test_without_the_page(self):
        self.assert_clean(cited_rules, {TEST: "# R1\n"})


if __name__ == "__main__":
    unittest.main()
