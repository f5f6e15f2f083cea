#include "json/writer.h"

#include <gtest/gtest.h>

namespace blockexport::json {
namespace {

TEST(Writer, WritesPureAsciiWithShortEscapes) {
  EXPECT_EQ(to_string(Value("a\"\\\b\f\n\r\t\x01\x7f/\xc3\xa9\xf0\x9f\x98\x80\xc0\x80")),
            R"("a\"\\\b\f\n\r\t\u0001\u007F/\u00E9\uD83D\uDE00\u0000")");
}

TEST(Writer, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(to_string(Value("a\xff\xc3")), R"("a\uFFFD\uFFFD")");
}

TEST(Writer, DoublesHaveSeventeenDigits) {
  EXPECT_EQ(to_string(Value(0.1)), "0.10000000000000001");
}

TEST(Writer, PrettyIndentsByFour) {
  std::string out;
  write_pretty(Value(Object{{"a", Array{Value(1), Value(2)}}, {"b", Object{}}}), out);
  EXPECT_EQ(out, "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {\n    }\n}");
}

}  // namespace
}  // namespace blockexport::json
