"""The scanner that finds comments, literals and functions."""

import unittest

from tidy_case import TidyCase

from tidy_rules import cpp


def names(text):
    return [entry.name for entry in cpp.functions(cpp.blank(text))]


class BlankTest(TidyCase):
    def test_keeps_offsets_and_lines(self):
        text = 'int a; // { one\n/* {\n} */ const char* b = "}{\\"";\nchar c = \'{\';\n'
        blanked = cpp.blank(text)
        self.assertEqual(len(blanked), len(text))
        self.assertEqual(blanked.count("\n"), text.count("\n"))
        self.assertNotIn("{", blanked)
        self.assertNotIn("}", blanked)

    def test_raw_strings(self):
        self.assertEqual(cpp.blank('f(R"x({ " // )" )x");').split(), ["f(", ");"])

    def test_digit_separators_are_no_quotes(self):
        self.assertEqual(cpp.blank("int a = 1'000'000; int b = '{';"), "int a = 1'000'000; int b = ' ';")


class FunctionsTest(TidyCase):
    def test_free_and_member_functions(self):
        text = "namespace a::b { int f() { return 1; } struct S { int g() const { return 2; } }; }"
        self.assertEqual(names(text), ["f", "g"])

    def test_qualified_names_and_operators(self):
        text = "Task<int> S::read(Range range) const noexcept {}\nbool operator==(S a, S b) { return true; }"
        self.assertEqual(names(text), ["S::read", "operator=="])

    def test_constructor_with_initialisers(self):
        self.assertEqual(names("S::S(int a) : a_{a}, b_(a), list_{1, 2} { f(); }\nint g() {}"), ["S::S", "g"])

    def test_trailing_return_type(self):
        self.assertEqual(names("auto f(int a) -> Result { return a; }"), ["f"])

    def test_template_with_requires(self):
        self.assertEqual(names("template <typename T> requires (sizeof(T) > 1) void f(T value) { }"), ["f"])

    def test_values_are_no_functions(self):
        text = "constexpr int kTable[] = {1, 2};\nauto kCall = [](int a) { return a; };\nint x{3};"
        self.assertEqual(names(text), [])

    def test_default_arguments(self):
        self.assertEqual(names("void f(int a = 3, S s = {}) { }"), ["f"])

    def test_nested_blocks_and_lambdas_belong_to_their_function(self):
        text = "void f() {\n  if (a) { b(); }\n  auto c = [&] {\n    d();\n  };\n}\n"
        entry, = cpp.functions(cpp.blank(text))
        self.assertEqual((entry.first_line, entry.last_line), (1, 6))

    def test_signature_counts(self):
        entry, = cpp.functions("\n\nint f(int a,\n      int b)\n{\n}\n")
        self.assertEqual(entry.line_count, 4)

    def test_access_specifiers_and_macros(self):
        text = "class S {\n public:\n  int f() { return 1; }\n#define M(x) { x\n private:\n  int g() { return 2; }\n};"
        found = cpp.functions(cpp.blank(text))
        self.assertEqual([(entry.name, entry.first_line) for entry in found], [("f", 3), ("g", 6)])

    def test_gtest_names(self):
        self.assertEqual(names("TEST(Json, reads_numbers) { EXPECT_EQ(1, 1); }"), ["TEST(Json, reads_numbers)"])


if __name__ == "__main__":
    unittest.main()
