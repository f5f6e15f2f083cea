"""Lines, words and the form of headers."""

import unittest

from tidy_case import TidyCase

from tidy_rules import text

HEAD = "// What it is.\n#pragma once\n"


class LinesTest(TidyCase):
    def test_width(self):
        self.assert_clean(text, {"src/a/a.cc": "x" * 120 + "\n"})
        self.assert_one(text, {"src/a/a.cc": "x" * 121 + "\n"}, "src/a/a.cc:1:", "121 columns")

    def test_blanks(self):
        self.assert_one(text, {"src/a/a.cc": "int a; \n"}, "src/a/a.cc:1:", "trailing blank")
        self.assert_one(text, {"src/a/a.cc": "\tint a;\n"}, "src/a/a.cc:1:", "tab")
        self.assert_one(text, {"src/a/a.cc": "int a;"}, "src/a/a.cc:1:", "no newline")
        self.assert_one(text, {"src/a/a.cc": "int a;\n\n"}, "src/a/a.cc:3:", "blank lines")

    def test_makefiles_need_tabs(self):
        self.assert_clean(text, {"Makefile": "all:\n\ttrue\n"})

    def test_unfinished_work(self):
        self.assert_one(text, {"src/a/a.cc": "int a;  // TO" "DO: more\n"}, "src/a/a.cc:1:", "unfinished")
        self.assert_one(text, {"tools/a.py": "a = 1  # FIX" "ME\n"}, "tools/a.py:1:", "unfinished")

    def test_the_words_in_text_that_holds_a_comment(self):
        sample = 'sample = """\n# TO' 'DO: x\n"""\n'
        self.assert_clean(text, {"tools/a.py": sample, "src/a/a.cc": 'auto a = "// TO' 'DO";\n'})

    def test_unfinished_work_in_a_block_comment(self):
        self.assert_one(text, {"src/a/a.cc": "/* one\n   FIX" "ME two */ int a;\n"}, "src/a/a.cc:2:", "unfinished")

    def test_the_words_as_data(self):
        self.assert_clean(text, {"tools/a.py": 'tags = ("Returns", "TO' 'DO")\n', "tools/a.sh": "mktemp a.XXXXXX\n"})

    def test_machine_paths(self):
        self.assert_one(text, {"docs/a.md": "see /ho" "me/me/disk.img\n"}, "docs/a.md:1:", "path of one machine")
        self.assert_one(text, {"src/a/a.cc": 'auto a = "/wo' 'rk/shared";\n'}, "src/a/a.cc:1:", "path of one machine")

    def test_paths_that_only_look_alike(self):
        self.assert_clean(text, {"docs/a.md": "src/work/a.h, $HOME/work, /srv/home, https://example.org/home\n"})


class ConstructsTest(TidyCase):
    def test_using_namespace(self):
        self.assert_one(text, {"src/a/a.cc": "using namespace blockexport;\n"}, "src/a/a.cc:1:", "using namespace")
        self.assert_one(text, {"src/a/a.cc": "", "src/a/a.h": HEAD + "inline void f() { using namespace b; }\n"},
                        "src/a/a.h:3:", "using namespace")

    def test_using_namespace_inside_a_function(self):
        self.assert_clean(text, {"src/a/a.cc": "void f() {\n  using namespace flag;\n}\n"})

    def test_literals(self):
        self.assert_clean(text, {"src/a/a.cc": "using namespace std::string_literals;\n"})

    def test_std_function(self):
        content = {"src/block/a.cc": "std::function<void()> done;\n"}
        self.assert_one(text, content, "src/block/a.cc:1:", "std::function")

    def test_std_function_in_control(self):
        self.assert_clean(text, {"src/control/a.cc": "std::function<void()> done;\n"})

    def test_dictionaries(self):
        self.assert_one(text, {"src/drivers/a.cc": "void open(const json::Value& options);\n"},
                        "src/drivers/a.cc:1:", "typed struct")

    def test_dictionaries_where_they_belong(self):
        content = "json::Value value;\n"
        self.assert_clean(text, {"src/qmp/a.cc": content, "src/drivers/a_test.cc": content})


class HeaderTest(TidyCase):
    def test_form(self):
        self.assert_clean(text, {"src/a/a.h": HEAD})

    def test_without_comment(self):
        self.assert_one(text, {"src/a/a.h": "#pragma once\n"}, "src/a/a.h:1:", "begins with a comment")

    def test_without_guard(self):
        self.assert_one(text, {"src/a/a.h": "// What it is.\n"}, "src/a/a.h:1:", "#pragma once")


if __name__ == "__main__":
    unittest.main()
