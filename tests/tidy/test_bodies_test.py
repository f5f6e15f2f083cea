"""Tests without an assertion."""

import unittest

from tidy_case import TidyCase

from tidy_rules import test_bodies


class CppTest(TidyCase):
    def test_asserting(self):
        self.assert_clean(test_bodies, {"src/a/a_test.cc": "TEST(A, b) { EXPECT_EQ(1, f()); }\n"})

    def test_not_asserting(self):
        self.assert_one(test_bodies, {"src/a/a_test.cc": "\nTEST_F(A, b) { f(); }\n"},
                        "src/a/a_test.cc:2:", "TEST_F(A, b) asserts nothing")

    def test_tests_by_our_own_macros(self):
        for head in ("TASK_TEST_P(A, b)", "TEST_IN_EVERY_MODE(b)"):
            self.assert_one(test_bodies, {"src/a/a_test.cc": head + " { co_await f(); }\n"},
                            "src/a/a_test.cc:1:", head + " asserts nothing")

    def test_assertion_in_a_comment_does_not_count(self):
        self.assert_one(test_bodies, {"src/a/a_test.cc": "TEST(A, b) { f();  // EXPECT_EQ(1, 1)\n}\n"},
                        "src/a/a_test.cc:1:", "asserts nothing")

    def test_assertion_in_what_the_test_calls(self):
        self.assert_clean(test_bodies, {
            "src/a/testing/a.h": "inline void inner(int a) { ASSERT_EQ(a, 1); }\n",
            "src/a/a_test.cc": "void outer() { inner(1); }\nTEST(A, b) { outer(); }\n",
        })


class PythonTest(TidyCase):
    def test_asserting(self):
        text = "class A:\n    def test_b(self):\n        self.assertEqual(1, f())\n"
        self.assert_clean(test_bodies, {"tests/a_test.py": text})

    def test_not_asserting(self):
        self.assert_one(test_bodies, {"tests/a_test.py": "class A:\n    def test_b(self):\n        f()\n"},
                        "tests/a_test.py:2:", "test_b asserts nothing")

    def test_assertion_in_another_file(self):
        self.assert_clean(test_bodies, {
            "tests/lib/shared.py": "def compare(a):\n    assert a\n",
            "tests/a_test.py": "def test_b():\n    compare(1)\n",
        })

    def test_assertion_in_tear_down_of_a_base(self):
        self.assert_clean(test_bodies, {
            "tests/base.py": "class Base:\n    def tearDown(self):\n        self.assertTrue(alive())\n",
            "tests/a_test.py": "class A(Base):\n    def test_b(self):\n        f()\n",
        })


if __name__ == "__main__":
    unittest.main()
