#include "json/writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "json/parser.h"
#include "json/utf8.h"

namespace blockexport::json {
namespace {

TEST(Writer, CompactHasABlankBehindCommaAndColon) {
  EXPECT_EQ(to_string(Object{{"a", 1}, {"b", Array{true, Null(), "x"}}, {"c", Object{}}, {"d", Array{}}}),
            R"({"a": 1, "b": [true, null, "x"], "c": {}, "d": []})");
}

TEST(Writer, PrettyIndentsByFourAndBreaksEmptyContainers) {
  std::string text;
  write_pretty(Object{{"a", Array{}}, {"b", Object{}}, {"c", Array{1, Object{{"d", Null()}}}}}, text);
  EXPECT_EQ(text,
            "{\n    \"a\": [\n    ],\n    \"b\": {\n    },\n    \"c\": [\n        1,\n        {\n"
            "            \"d\": null\n        }\n    ]\n}");
}

TEST(Writer, AppendsToWhatIsThere) {
  std::string out = "x";
  write(1, out);
  EXPECT_EQ(out, "x1");
}

TEST(Writer, NumbersHaveSeventeenDigits) {
  EXPECT_EQ(to_string(1.5), "1.5");
  EXPECT_EQ(to_string(1000.0), "1000");
  EXPECT_EQ(to_string(0.1), "0.10000000000000001");
  EXPECT_EQ(to_string(-0.0), "-0");
  EXPECT_EQ(to_string(5e-324), "4.9406564584124654e-324");
  EXPECT_EQ(to_string(1e300), "1.0000000000000001e+300");
  EXPECT_EQ(to_string(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(to_string(INT64_MIN), "-9223372036854775808");
}

TEST(Writer, WhatIsNoNumberInJsonStillGivesJson) {
  EXPECT_EQ(to_string(-std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(to_string(std::nan("")), "null");
}

TEST(Writer, StringsAreAscii) {
  EXPECT_EQ(to_string("\"\\/\b\f\n\r\t\x01\x7f'"), R"("\"\\/\b\f\n\r\t\u0001\u007F'")");
  EXPECT_EQ(to_string("\u00e9\u20ac\U0001f600"), R"("\u00E9\u20AC\uD83D\uDE00")");
  EXPECT_EQ(to_string("a\xC0\x80"), R"("a\u0000")");
  EXPECT_EQ(to_string(std::string_view("a\0b", 3)), R"("a\u0000b")");
}

TEST(Writer, EachInvalidSequenceBecomesOneReplacement) {
  EXPECT_EQ(to_string("\xe2\x82"), R"("\uFFFD")");
  EXPECT_EQ(to_string("\xe2\x82!"), R"("\uFFFD!")");
  EXPECT_EQ(to_string("\x80\x80!"), R"("\uFFFD\uFFFD!")");
  EXPECT_EQ(to_string("\xed\xa0\x80!"), R"("\uFFFD!")");
  EXPECT_EQ(to_string("\xef\xbf\xbf!"), R"("\uFFFD!")");
  EXPECT_EQ(to_string("\xfc\x88\x80\x80\x80\x80!"), R"("\uFFFD!")");
}

TEST(Utf8, AppendAndDecodeAreInverse) {
  for (std::uint32_t codepoint = 0; codepoint <= 0x10FFFF; codepoint += codepoint < 0x1000 ? 1 : 97) {
    if (!is_character(codepoint)) continue;
    std::string text;
    append_utf8(text, codepoint);
    const Utf8Sequence sequence = decode_utf8(text);
    ASSERT_TRUE(sequence.valid) << codepoint;
    ASSERT_EQ(sequence.codepoint, codepoint);
    ASSERT_EQ(sequence.length, text.size());
  }
}

TEST(Writer, WrittenStringsReadBackAsTheyWere) {
  std::string text;
  for (std::uint32_t codepoint = 0; codepoint < 0x3000; ++codepoint) append_utf8(text, codepoint);
  append_utf8(text, 0x10FFFD);
  EXPECT_EQ(parse(to_string(text)).value(), Value(text));
}

}  // namespace
}  // namespace blockexport::json
