#include "json/parser.h"

#include <gtest/gtest.h>

#include "json/writer.h"

namespace blockexport::json {
namespace {

// What the parser makes of the text fed in pieces of `step` bytes: documents and errors, one a line.
std::string outcome(std::string_view text, std::size_t step = SIZE_MAX) {
  Parser parser;
  std::string out;
  while (!text.empty()) {
    parser.feed(text.substr(0, step));
    text.remove_prefix(std::min(step, text.size()));
    while (auto result = parser.next()) {
      out += *result ? to_string(**result) : result->error().message();
      out += '\n';
    }
  }
  return out;
}

TEST(Parser, GivesDocumentsAsTheyComplete) {
  EXPECT_EQ(outcome(R"({"a":1}{"b":[true,null]} 5 )"), "{\"a\": 1}\n{\"b\": [true, null]}\n5\n");
  EXPECT_EQ(outcome(R"({'a':'it''s'})"), "JSON parse error, expected separator in dict\n");
  EXPECT_EQ(outcome(R"({'a':'it\'s'})"), "{\"a\": \"it's\"}\n");
}

TEST(Parser, TellsIntegersUnsignedAndDoublesApart) {
  EXPECT_EQ(outcome("[1e3,-0,-0.0,18446744073709551615,18446744073709551616,9223372036854775808,1.50]"),
            "[1000, 0, -0, 18446744073709551615, 1.8446744073709552e+19, 9223372036854775808, 1.5]\n");
}

// Observed on qemu-storage-daemon.
TEST(Parser, ReportsErrorsInTheWordsThatClientsKnow) {
  const std::pair<const char*, const char*> kCases[] = {
      {"{\"execute\": bogus}", "invalid keyword 'bogus'"},
      {"{\"a\" }", "missing : in object pair"},
      {"{\"a\":}", "expecting value"},
      {"{\"a\":1 \"b\":2}", "expected separator in dict"},
      {"[1 2]", "expected separator in list"},
      {"{1:2}", "key is not a string in object"},
      {"{]", "expecting value"},
      {"}", "expecting value"},
      {"nul\n", "invalid keyword 'nul'"},
      {"\"a\\q\"", "invalid escape sequence in string"},
      {"\"\\ud800\"", "\\ud800 is not a valid Unicode character"},
      {"\"\\u12g4\"", "\\u12g4 is not a valid Unicode character"},
      {"\"\\uffff\"", "\\uffff is not a valid Unicode character"},
      {"\"\xc3\"", "invalid UTF-8 sequence in string"},
      {"\"\xed\xa0\x80\"", "invalid UTF-8 sequence in string"},
      {"01\n", "stray '01'"},
      {"-\n", "stray '-\n'"},
      {"+1\n", "stray '+'"},
      {"{\"a\":1,}", "expecting value"},
      {"[,]", "expecting value"},
      {"{\"a\":1,\"a\":2}", "duplicate key"},
      {"/* */", "stray '/'"},
  };
  for (const auto& [text, reason] : kCases) {
    EXPECT_EQ(outcome(text), std::string("JSON parse error, ") + reason + "\n") << text;
  }
}

TEST(Parser, RecoversWhereClientsExpectIt) {
  EXPECT_EQ(outcome("\xff{\"a\":1}"), "JSON parse error, stray '\xff'\n{\"a\": 1}\n");
  EXPECT_EQ(outcome("@@\xff{\"a\":1}"), "JSON parse error, stray '@'\nJSON parse error, stray '\xff'\n{\"a\": 1}\n");
  EXPECT_EQ(outcome("{\"a\":\"b\nc\"}"), "JSON parse error, stray '\"b\n'\nJSON parse error, expecting value\n");
  EXPECT_EQ(outcome("[@]\n{\"a\":1}"), "JSON parse error, stray '@'\nJSON parse error, expecting value\n{\"a\": 1}\n");
}

TEST(Parser, AnySegmentationGivesTheSame) {
  constexpr std::string_view kText =
      "{\"execute\":\"x\",\"id\":[1,-2.5e3,\"\\ud83d\\ude00\",'q']} nul [@] \xff{\"a\":{\"b\":[]}} \"\\u00e9\" 12 ";
  std::string whole = outcome(kText);
  for (std::size_t step = 1; step < kText.size(); ++step) EXPECT_EQ(outcome(kText, step), whole) << step;
}

TEST(Parser, LimitsAreErrorsAndReadingGoesOn) {
  std::string deep(1025, '[');
  EXPECT_EQ(outcome(deep + std::string("{\"a\":1}")).substr(0, 33), "JSON nesting depth limit exceeded");
  std::string deepest = std::string(1024, '[') + std::string(1024, ']');
  EXPECT_EQ(outcome(deepest), deepest + "\n");

  Parser small({.message_bytes_max = 10, .tokens_max = 5, .nesting_max = 3});
  small.feed("\"0123456789abc\"");
  auto error = small.next();
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->error().message(), "JSON token size limit exceeded");

  Parser few({.message_bytes_max = 100, .tokens_max = 5, .nesting_max = 3});
  few.feed("[1,2,3]");
  error = few.next();
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->error().message(), "JSON token count limit exceeded");
}

TEST(Parser, ParseWantsExactlyOneDocument) {
  EXPECT_EQ(to_string(parse(" {\"a\": 1} ").value()), "{\"a\": 1}");
  EXPECT_EQ(to_string(parse("12").value()), "12");
  EXPECT_EQ(parse("{\"a\": 1").error().message(), "JSON parse error, premature EOI");
  EXPECT_FALSE(parse("").has_value());
  EXPECT_FALSE(parse("1 2").has_value());
}

}  // namespace
}  // namespace blockexport::json
