"""Coroutines that are lambdas with captures."""

import unittest

from tidy_case import TidyCase

from tidy_rules import coroutines

PATH = "src/a/a_test.cc"


class CoroutinesTest(TidyCase):
    def test_captures(self):
        for captures in ("this", "&", "=", "&sum", "this, mode"):
            text = f"void f() {{\n  run([{captures}]() -> Task<void> {{ co_await g(); }}());\n}}\n"
            self.assert_one(coroutines, {PATH: text}, f"{PATH}:2:", "lambda with captures")

    def test_forms_of_lambdas(self):
        for form in ("[&] -> Task<void>", "[&](int (*a)(int)) mutable -> Task<int>", "[&]<class T>(T a) -> Task<T>"):
            self.assert_one(coroutines, {PATH: f"auto a = {form} {{ co_return b; }};\n"}, f"{PATH}:1:", "captures")

    def test_no_captures(self):
        self.assert_clean(coroutines, {PATH: "auto a = [](int& b) -> Task<void> { co_await g(b); }(c);\n"})

    def test_captures_of_plain_lambdas(self):
        self.assert_clean(coroutines, {PATH: "Task<void> f() {\n  co_await until([&] { return done; });\n}\n"})

    def test_a_lambda_inside_a_lambda(self):
        outer = "auto a = [&] {\n  return [](int b) -> Task<void> { co_await g(b); }(c);\n};\n"
        self.assert_clean(coroutines, {PATH: outer})
        inner = "auto a = [](int b) -> Task<void> {\n  co_await g([&]() -> Task<void> { co_return; }());\n};\n"
        self.assert_one(coroutines, {PATH: inner}, f"{PATH}:2:", "captures")

    def test_what_only_looks_like_a_lambda(self):
        text = "[[nodiscard]] Task<int> f() {\n  a[i](b);\n  auto [c, d] = g();\n  co_return a[c];\n}\n"
        self.assert_clean(coroutines, {PATH: text})


if __name__ == "__main__":
    unittest.main()
