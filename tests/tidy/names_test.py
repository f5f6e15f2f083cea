"""Banned names."""

import unittest

from tidy_case import TidyCase

from tidy_rules import names


class NamesTest(TidyCase):
    def test_whole_words_pass(self):
        self.assert_clean(names, {"src/a/reply_queue.cc": "int reply_length = buffer.size(); auto fd = export_id;\n"})

    def test_snake_case_part(self):
        self.assert_one(names, {"src/a/a.cc": "int reply_len = 0;\n"}, "src/a/a.cc:1:", "write length")

    def test_camel_case_part(self):
        self.assert_one(names, {"src/a/a.cc": "struct RequestCtx;\n"}, "src/a/a.cc:1:", "write context")
        self.assert_one(names, {"src/a/a.cc": "constexpr int kMaxLen = 1;\n"}, "src/a/a.cc:1:", "write length")

    def test_words_that_only_contain_one(self):
        self.assert_clean(names, {"src/a/a.cc": "int lengthen, address, request, source, result, context, valid;\n"})

    def test_comments_and_text_are_free(self):
        self.assert_clean(names, {"src/a/a.cc": '// len of the msg\nauto text = "len";\n'})

    def test_what_others_named(self):
        text = "std::unique_ptr<int> a; iov.iov_len = 1; b.c_str(); SO_RCVBUF; event.data.ptr;\n"
        self.assert_clean(names, {"src/a/a.cc": text})

    def test_alternates_of_the_schema(self):
        self.assert_clean(names, {"src/a/a.cc": "void check(const schema::BlockDirtyBitmapOrStr& bitmap);\n"})

    def test_the_field_says_multi_conn(self):
        self.assert_clean(names, {"src/a/a.cc": "bool can_multi_conn = kCanMultiConn;\n"})

    def test_what_gtest_named(self):
        self.assert_clean(names, {"src/a/a_test.cc": "int a = GetParam(); auto b = info.param;\n"})

    def test_file_names(self):
        self.assert_one(names, {"src/a/string_utils.h": ""}, "src/a/string_utils.h:1:", "what they do")

    def test_python_definitions(self):
        self.assert_one(names, {"tools/a.py": "def work(idx):\n    return idx\n"}, "tools/a.py:1:", "write index")
        self.assert_one(names, {"tools/a.py": "val = 1\n"}, "tools/a.py:1:", "write value")

    def test_python_uses_are_free(self):
        self.assert_clean(names, {"tools/a.py": "import re\nprint(len(str(re.match)))\n"})


if __name__ == "__main__":
    unittest.main()
