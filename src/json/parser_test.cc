#include "json/parser.h"

#include <gtest/gtest.h>

#include <cmath>

#include "json/writer.h"

namespace blockexport::json {
namespace {

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string error_of(std::string_view text, Limits limits = {}) {
  Result<Value> value = parse(text, limits);
  return value ? "no error: " + to_string(*value) : value.error().message();
}

std::string first_error(Parser& parser) {
  auto outcome = parser.next();
  if (!outcome) return "nothing";
  return outcome->has_value() ? to_string(**outcome) : outcome->error().message();
}

int count_outcomes(Parser& parser) {
  int count = 0;
  while (parser.next()) ++count;
  return count;
}

TEST(Parse, NumbersTakeTheShapeOfTheirSize) {
  EXPECT_EQ(parse("-9223372036854775808").value().kind(), Kind::kInteger);
  EXPECT_EQ(parse("9223372036854775808").value().kind(), Kind::kUnsigned);
  EXPECT_EQ(parse("18446744073709551615").value(), Value(UINT64_MAX));
  EXPECT_EQ(parse("18446744073709551616").value(), Value(18446744073709551616.0));
  EXPECT_EQ(parse("-9223372036854775809").value(), Value(-9223372036854775808.0));
  EXPECT_EQ(parse("1.0").value(), Value(1.0));
  EXPECT_EQ(parse("-0").value(), Value(0));
  EXPECT_TRUE(std::signbit(*parse("-0.0").value().as_double()));
}

TEST(Parse, NumbersTooSmallAreZeroAndTooLargeAreRefused) {
  EXPECT_EQ(parse("1e-999").value(), Value(0.0));
  EXPECT_EQ(parse("5e-324").value(), Value(5e-324));
  EXPECT_EQ(error_of("[1e999]"), "1:2: JSON parse error, number out of range");
  EXPECT_EQ(error_of(repeated("9", 400)), "1:1: JSON parse error, number out of range");
}

TEST(Parse, NulIsHeldAsTwoBytes) {
  EXPECT_EQ(parse(R"("a\u0000b")").value(), Value("a\xC0\x80"
                                                  "b"));
}

TEST(Parse, WholeTextMustBeOneDocument) {
  EXPECT_EQ(error_of(""), "Expecting a JSON value");
  EXPECT_EQ(error_of(" \n"), "Expecting a JSON value");
  EXPECT_EQ(error_of("{} {}"), "Expecting at most one JSON value");
  EXPECT_EQ(error_of("{}}"), "Expecting at most one JSON value");
  EXPECT_EQ(error_of("{}@"), "Expecting at most one JSON value");
  EXPECT_EQ(error_of("1@"), "Expecting at most one JSON value");
  EXPECT_EQ(error_of("@1"), "1:1: JSON parse error, stray '@'");
  EXPECT_EQ(error_of(R"({"a":@})"), "1:6: JSON parse error, stray '@'");
  EXPECT_EQ(to_string(parse(" {}  ").value()), "{}");
}

TEST(Parse, TextThatEndsTooSoonSaysSo) {
  for (std::string_view text : {"{", "[", "[1", "[1,", R"({"a")", R"({"a":)", R"({"a":1)", R"({"a":1,)"}) {
    std::string position = "1:" + std::to_string(text.size() + 1);
    EXPECT_EQ(error_of(text), position + ": JSON parse error, premature end of input") << text;
  }
  EXPECT_EQ(error_of(R"({"a":tr)"), "1:6: JSON parse error, invalid keyword 'tr'");
  EXPECT_EQ(error_of(R"("abc)"), "1:1: JSON parse error, stray '\"abc'");
  EXPECT_EQ(error_of("-"), "1:1: JSON parse error, stray '-'");
}

// The position of the unexpected token; lines and bytes are counted from 1.
TEST(Parse, AnErrorSaysWhereItIs) {
  EXPECT_EQ(error_of("[1,\n  @\n]"), "2:3: JSON parse error, stray '@'");
  EXPECT_EQ(error_of("\r\n\r\n [\"a\" 1]"), "3:7: JSON parse error, expected ',' or ']'");
  EXPECT_EQ(error_of("\t[\"\xC3\xA9\" 1]"), "1:8: JSON parse error, expected ',' or ']'");
  EXPECT_EQ(error_of("{\"a\":1\n\n,\"a\"\n:\n7}"), "5:1: JSON parse error, duplicate key");
  EXPECT_EQ(error_of(R"({"a":1,"a":{"b":2}})"), "1:18: JSON parse error, duplicate key") << "where the value ends";
  EXPECT_EQ(error_of("[1\n"), "2:1: JSON parse error, premature end of input");
  EXPECT_EQ(error_of("{\"k\":\n true\n,7:1}"), "3:2: JSON parse error, expecting key");
}

TEST(Stream, LinesAreCountedOverAllMessagesHoweverTheyArrive) {
  const std::string input = "[1]\n{\"a\":\n2}\n @\n[3\n  4]\"x\x01\n]";
  for (std::size_t split = 0; split <= input.size(); ++split) {
    Parser parser;
    std::string errors;
    for (std::string_view part : {std::string_view(input).substr(0, split), std::string_view(input).substr(split)}) {
      parser.feed(part);
      while (auto outcome = parser.next()) errors += *outcome ? "" : outcome->error().message().substr(0, 5) + " ";
    }
    EXPECT_EQ(errors, "4:2:  6:3:  6:5:  7:1:  ") << split;
  }
}

TEST(Stream, AResetBeginsWithTheFirstLine) {
  Parser parser;
  parser.feed("\n\n[");
  EXPECT_FALSE(parser.next());
  parser.reset();
  parser.feed("]");
  EXPECT_EQ(first_error(parser), "1:1: JSON parse error, expecting value");
}

TEST(Parse, LongTextInAnErrorIsCut) {
  EXPECT_LT(error_of(repeated("x", 100000)).size(), 5000u);
  EXPECT_LT(error_of("\"" + repeated("x", 100000)).size(), 5000u);
}

TEST(Limits, NestingIsAllowedUpToTheLimit) {
  EXPECT_TRUE(parse(repeated("[", 1024) + repeated("]", 1024)).has_value());
  EXPECT_TRUE(parse(repeated(R"({"a":)", 1023) + "[]" + repeated("}", 1023)).has_value());
  EXPECT_EQ(error_of(repeated("[", 1025)), "JSON nesting depth limit exceeded");
}

TEST(Limits, BracketsBehindTheDeepestAreErrorsOfTheirOwn) {
  Parser parser;
  parser.feed(repeated("[", 1025) + "]]]");
  EXPECT_EQ(first_error(parser), "JSON nesting depth limit exceeded");
  EXPECT_EQ(count_outcomes(parser), 3);
}

TEST(Limits, TokensAreCounted) {
  const Limits limits{.tokens_max = 7};
  EXPECT_TRUE(parse("[1,2,3]", limits).has_value());
  EXPECT_EQ(error_of("[1,2,3,4]", limits), "JSON token count limit exceeded");
}

TEST(Limits, BytesOfAMessageAreCountedWithoutBlanks) {
  const Limits limits{.message_bytes_max = 8};
  EXPECT_EQ(to_string(parse("[     11,    22   ]", limits).value()), "[11, 22]");
  EXPECT_EQ(error_of("[11,222]", limits), "JSON token size limit exceeded");
}

TEST(Limits, TokenThatArrivesInPiecesEndsAtTheLimit) {
  Parser parser({.message_bytes_max = 1000});
  parser.feed("\"");
  int errors = 0;
  for (int i = 0; i < 100; ++i) {
    parser.feed(repeated("a", 100));
    while (auto outcome = parser.next()) errors += outcome->has_value() ? 0 : 1;
  }
  EXPECT_EQ(errors, 1 + 8) << "one for the string, then one for each keyword of 1001 letters";
}

TEST(Limits, OversizeTokenEndsAtTheSameByteHoweverItArrives) {
  const std::string input = "\"" + repeated("a", 30) + "\"[1]";
  for (std::size_t split = 0; split <= input.size(); ++split) {
    Parser parser({.message_bytes_max = 10});
    parser.feed(std::string_view(input).substr(0, split));
    std::string outcomes;
    while (auto outcome = parser.next()) outcomes += outcome->has_value() ? to_string(**outcome) : "!";
    parser.feed(std::string_view(input).substr(split));
    while (auto outcome = parser.next()) outcomes += outcome->has_value() ? to_string(**outcome) : "!";
    EXPECT_EQ(outcomes, "!!!") << split;
  }
}

TEST(Stream, MessagesNeedNothingBetweenThem) {
  Parser parser;
  parser.feed(R"({"a":1}{"b":2}[]"x"1 )");
  EXPECT_EQ(first_error(parser), R"({"a": 1})");
  EXPECT_EQ(count_outcomes(parser), 4);
}

TEST(Stream, BareNumberWaitsForWhatEndsIt) {
  Parser parser;
  parser.feed("12");
  EXPECT_FALSE(parser.next());
  parser.feed("3\n");
  EXPECT_EQ(first_error(parser), "123");
}

TEST(Stream, ResetForgetsTheMessageUnderWay) {
  Parser parser;
  parser.feed(R"([1,{"a":"bc)");
  EXPECT_FALSE(parser.next());
  parser.reset();
  parser.feed("{}");
  EXPECT_EQ(first_error(parser), "{}");
}

TEST(Stream, FinishMakesTheParserAsNew) {
  Parser parser;
  parser.feed("[1");
  parser.finish();
  EXPECT_EQ(first_error(parser), "1:3: JSON parse error, premature end of input");
  EXPECT_FALSE(parser.next());
  parser.feed("[2]");
  EXPECT_EQ(first_error(parser), "[2]");
}

TEST(Stream, LongStringByteByByteIsNotScannedAgain) {
  Parser parser;
  parser.feed("\"");
  for (int i = 0; i < 2'000'000; ++i) {
    parser.feed("a");
    ASSERT_FALSE(parser.next());
  }
  parser.feed("\"");
  EXPECT_EQ(first_error(parser).size(), 2'000'002u);
}

TEST(Stream, ManyMessagesFedAtOnceAreLinear) {
  Parser parser;
  parser.feed(repeated("[]", 500'000));
  EXPECT_EQ(count_outcomes(parser), 500'000);
}

TEST(Stream, ObjectWithVeryManyKeysIsLinear) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text += R"("k7":2})";
  EXPECT_EQ(error_of(text), "1:" + std::to_string(text.size() - 1) + ": JSON parse error, duplicate key");
}

}  // namespace
}  // namespace blockexport::json
