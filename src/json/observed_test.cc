// Answers of QSD 11.1 to unusual input, observed on its QMP socket, one case per line. The expected outcomes are those
// of the wire, except for columns after an invalid byte, which QSD reports one too large.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::json {
namespace {

using namespace std::string_view_literals;

struct Case {
  std::string_view input;
  std::vector<std::string> outcomes;  // "= TEXT" for a message, else the error without "JSON parse error, "
};

std::string shown(const Result<Value>& outcome) {
  if (outcome) return "= " + to_string(*outcome);
  std::string message = outcome.error().message();
  constexpr std::string_view kNoise = "JSON parse error, ";
  if (std::size_t noise = message.find(kNoise); noise != std::string::npos) message.erase(noise, kNoise.size());
  std::string text;
  write_string(message, text);
  return text.substr(1, text.size() - 2);
}

std::vector<std::string> outcomes_of(Parser& parser) {
  std::vector<std::string> outcomes;
  while (auto outcome = parser.next()) outcomes.push_back(shown(*outcome));
  return outcomes;
}

// clang-format off
const Case kCases[] = {
    {"{\"i\":1}"sv, {"= {\"i\": 1}"}},
    {"[]"sv, {"= []"}},
    {"1 "sv, {"= 1"}},
    {"null\n"sv, {"= null"}},
    {"nullX "sv, {"= null", "1:5: stray 'X'"}},
    {"True "sv, {"1:1: stray 'T'"}},
    {"\"abc\""sv, {"= \"abc\""}},
    {"1"sv, {}},
    {"-a "sv, {"1:1: stray '-a'"}},
    {"01 "sv, {"1:1: stray '01'"}},
    {"-01 "sv, {"1:1: stray '-01'"}},
    {"1. "sv, {"1:1: stray '1. '"}},
    {"1.e "sv, {"1:1: stray '1.e'"}},
    {"1e+ "sv, {"1:1: stray '1e+ '"}},
    {"-"sv, {}},
    {"- "sv, {"1:1: stray '- '"}},
    {":"sv, {"1:1: expecting value"}},
    {","sv, {"1:1: expecting value"}},
    {"]"sv, {"1:1: expecting value"}},
    {"}"sv, {"1:1: expecting value"}},
    {"{]"sv, {"1:2: expecting key"}},
    {"[}"sv, {"1:2: expecting value"}},
    {"[{]}"sv, {"1:3: expecting key"}},
    {"[{]}}"sv, {"1:3: expecting key", "1:5: expecting value"}},
    {"{\"a\" 1}"sv, {"1:6: expecting ':'"}},
    {"{\"a\":1 \"b\":2}"sv, {"1:8: expected ',' or '}'"}},
    {"{\"a\":1,}"sv, {"1:8: expecting key"}},
    {"[1,]"sv, {"1:4: expecting value"}},
    {"[1 2]"sv, {"1:4: expected ',' or ']'"}},
    {"[,]"sv, {"1:2: expecting value"}},
    {"{1:2}"sv, {"1:2: expecting key"}},
    {"{:2}"sv, {"1:2: expecting key"}},
    {"{\"a\":}"sv, {"1:6: expecting value"}},
    {"{\"a\"}"sv, {"1:5: expecting ':'"}},
    {"{\"a\":1,\"a\":2}"sv, {"1:12: duplicate key"}},
    {"{\"a\":1,\"a\":}"sv, {"1:12: expecting value"}},
    {"{\"a\":1,\"a\":nope}"sv, {"1:12: invalid keyword 'nope'"}},
    {"{\"a\":nope}"sv, {"1:6: invalid keyword 'nope'"}},
    {"{nope:1}"sv, {"1:2: expecting key"}},
    {"{\"i\":\"\\q\"}"sv, {"1:6: invalid escape sequence in string"}},
    {"{\"a\" \"\\q\"}"sv, {"1:6: expecting ':'"}},
    {"{\"i\":\"\\u12\"}"sv, {"1:6: \\\\u12\\\" is not a valid Unicode character"}},
    {"{\"i\":\"\\ud800\"}"sv, {"1:6: \\\\ud800 is not a valid Unicode character"}},
    {"{\"i\":\"\\udc00x\"}"sv, {"1:6: \\\\udc00 is not a valid Unicode character"}},
    {"{\"i\":\"\\ud800\\u0041\"}"sv, {"1:6: \\\\ud800 is not a valid Unicode character"}},
    {"{\"i\":\"\\ud83d\\ude00\"}"sv, {"= {\"i\": \"\\uD83D\\uDE00\"}"}},
    {"{\"i\":\"\\ud83d\\ude0\"}"sv, {"1:6: \\\\ud83d is not a valid Unicode character"}},
    {"{\"i\":\"\\uD83D\\uDE00 \\u00e9 \\u0000\"}"sv, {"= {\"i\": \"\\uD83D\\uDE00 \\u00E9 \\u0000\"}"}},
    {"{\"i\":\"\\ufffe\"}"sv, {"1:6: \\\\ufffe is not a valid Unicode character"}},
    {"{\"i\":\"\\uffff\"}"sv, {"1:6: \\\\uffff is not a valid Unicode character"}},
    {"{\"i\":\"\\ufdd0\"}"sv, {"1:6: \\\\ufdd0 is not a valid Unicode character"}},
    {"{\"i\":\"\\ufffd\"}"sv, {"= {\"i\": \"\\uFFFD\"}"}},
    {"{\"i\":\"\300\200\"}"sv, {"= {\"i\": \"\\u0000\"}"}},
    {"{\"i\":\"\300\201\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"{\"i\":\"\342\202\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"{\"i\":\"\355\240\200\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"{\"i\":\"\357\277\276\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"{\"i\":\"\364\220\200\200\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"{\"i\":\"\360\237\230\200\"}"sv, {"= {\"i\": \"\\uD83D\\uDE00\"}"}},
    {"{\"i\":\"\376\"}"sv, {"1:6: stray '\\\"\\uFFFD'", "1:9: expecting value"}},
    {"{\"i\":\"\377\"}"sv, {"1:6: stray '\\\"\\uFFFD'", "1:9: expecting value"}},
    {"{\"i\":\"a\tb\"}"sv, {"1:6: stray '\\\"a\\t'", "1:11: expecting value"}},
    {"{\"i\":\"a\nb\"}"sv, {"1:6: stray '\\\"a\\n'", "2:3: expecting value"}},
    {"{\"i\":\"a\177b\\b\\f\\n\\r\\t\\/\\\\\\\"\\'\"}"sv, {"= {\"i\": \"a\\u007Fb\\b\\f\\n\\r\\t/\\\\\\\"'\"}"}},
    {"{'execute':'x','id':'it\"s \\' ok'}"sv, {"= {\"execute\": \"x\", \"id\": \"it\\\"s ' ok\"}"}},
    {"{\"i\":[0,-0,1.50,1e3,18446744073709551615,18446744073709551616,-9223372036854775808,-9223372036854775809]}"sv,
     {"= {\"i\": [0, 0, 1.5, 1000, 18446744073709551615, 1.8446744073709552e+19, -9223372036854775808,"
      " -9.2233720368547758e+18]}"}},
    {"{\"i\":[-0.0,0.1,1e-7,5e-324,123456789012345678901234567890]}"sv,
     {"= {\"i\": [-0, 0.10000000000000001, 9.9999999999999995e-08, 4.9406564584124654e-324, 1.2345678901234568e+29]}"}},
    {"{\"i\":[1e-999]}"sv, {"= {\"i\": [0]}"}},
    {"{\"i\":[1E5,1e+5,1e05,100.0]}"sv, {"= {\"i\": [100000, 100000, 100000, 100]}"}},
    {"{\"i\":[true,false,null,{},[],{\"b\":1,\"a\":[{}]}]}"sv,
     {"= {\"i\": [true, false, null, {}, [], {\"b\": 1, \"a\": [{}]}]}"}},
    {"{\"a\": @ }"sv, {"1:7: stray '@'", "1:9: expecting value"}},
    {"{\"a\": @, \"b\": 1}"sv,
     {"1:7: stray '@'", "1:8: expecting value", "= \"b\"", "1:13: expecting value", "= 1", "1:16: expecting value"}},
    {"{\"a\": \"x\ny\", \"b\": 1}"sv,
     {"1:7: stray '\\\"x\\n'", "2:3: expecting value", "= \"b\"", "2:8: expecting value", "= 1",
      "2:11: expecting value"}},
    {"@@@@ {\"x\":1}"sv, {"1:1: stray '@'", "= {\"x\": 1}"}},
    {"@\n{\"x\":1}"sv, {"1:1: stray '@'", "= {\"x\": 1}"}},
    {"@\t{\"x\":1}"sv, {"1:1: stray '@'", "= {\"x\": 1}"}},
    {"abc\"def\""sv, {"1:1: invalid keyword 'abc'", "= \"def\""}},
    {"\377{\"x\":1}"sv, {"1:1: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"\377\377\377{\"x\":1}"sv,
     {"1:1: stray '\\uFFFD'", "1:2: stray '\\uFFFD'", "1:3: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"\376{\"x\":1}"sv, {"1:1: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"{\"a\": [1, \377{\"x\":1}"sv, {"1:11: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"{\"a\": \"abc\377{\"x\":1}"sv, {"1:7: stray '\\\"abc\\uFFFD'", "= {\"x\": 1}"}},
    {"{\"a\": \"abc\\\377{\"x\":1}"sv, {"1:7: stray '\\\"abc\\\\\\uFFFD'", "= {\"x\": 1}"}},
    {"{\"a\": tru\377{\"x\":1}"sv, {"1:7: invalid keyword 'tru'", "= {\"x\": 1}"}},
    {"\000{\"x\":1}"sv, {"1:1: stray ''", "= {\"x\": 1}"}},
    {"{\"a\000b\":1}"sv, {"1:2: stray '\\\"a'", "1:7: expecting value", "= 1", "1:9: expecting value"}},
    {"\357\273\277{\"x\":1}"sv, {"1:1: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"{\"x\":1}{\"y\":2}[]1 2 \"q\"{\"z\":3}"sv,
     {"= {\"x\": 1}", "= {\"y\": 2}", "= []", "= 1", "= 2", "= \"q\"", "= {\"z\": 3}"}},
    {"{\"i\":\"\\"sv, {}},
    {"{\"i\":\"\\\n\"}"sv, {"1:6: stray '\\\"\\\\\\n'", "2:2: expecting value"}},
    {"{\"i\":\"\\u00\n\"}"sv, {"1:6: stray '\\\"\\\\u00\\n'", "2:2: expecting value"}},
    {"%d "sv, {"1:1: stray '%'"}},
    {"%(a) {\"x\":1}"sv, {"1:1: stray '%'", "= {\"x\": 1}"}},
    {"/* c */ {\"x\":1}"sv, {"1:1: stray '/'", "= {\"x\": 1}"}},
    {"// c \n {\"x\":1}"sv, {"1:1: stray '/'", "= {\"x\": 1}"}},
    {"{\"x\":1,}"sv, {"1:8: expecting key"}},
    {"{,}"sv, {"1:2: expecting key"}},
    {"{{}:1}"sv, {"1:2: expecting key"}},
    {"{[]:1}"sv, {"1:2: expecting key"}},
    {"{\"a\":[1,2,{\"b\":]}]}"sv, {"1:16: expecting value", "1:19: expecting value"}},
    {"nul\n"sv, {"1:1: invalid keyword 'nul'"}},
    {"truefalse\n"sv, {"1:1: invalid keyword 'truefalse'"}},
    {"1true\n"sv, {"= 1", "= true"}},
    {"true1\n"sv, {"= true", "= 1"}},
    {"1\"a\"\n"sv, {"= 1", "= \"a\""}},
    {"1-1\n"sv, {"= 1", "= -1"}},
    {"[1-1]\n"sv, {"1:3: expected ',' or ']'"}},
    {"1.5.5\n"sv, {"= 1.5", "1:4: stray '.'"}},
    {"0x10\n"sv, {"= 0", "1:2: invalid keyword 'x'", "= 10"}},
    {"[0x10]\n"sv, {"1:3: expected ',' or ']'"}},
    {"[1 @ 2]"sv, {"1:4: stray '@'", "1:7: expecting value"}},
    {"[\"a\\\001b\"]"sv, {"1:2: stray '\\\"a\\\\\\u0001'", "1:8: expecting value"}},
    {"['\200']"sv, {"1:2: invalid UTF-8 sequence in string"}},
    {"\013\014{\"x\":1}"sv, {"1:1: stray '\\u000B'", "1:2: stray '\\f'", "= {\"x\": 1}"}},
    {"\200{\"x\":1}"sv, {"1:1: stray '\\uFFFD'", "= {\"x\": 1}"}},
    {"@\001{\"x\":1}"sv, {"1:1: stray '@'", "1:2: stray '\\u0001'", "= {\"x\": 1}"}},
    {"@\177{\"x\":1}"sv, {"1:1: stray '@'", "= {\"x\": 1}"}},
    {"[\"\\u12zzzz\"]"sv, {"1:2: \\\\u12zz is not a valid Unicode character"}},
    {"[\"\\u1\"]"sv, {"1:2: \\\\u1\\\" is not a valid Unicode character"}},
    {"[\"\\u\"]"sv, {"1:2: \\\\u\\\" is not a valid Unicode character"}},
    {"[\"\\ud83d\\uzzzz\"]"sv, {"1:2: \\\\ud83d is not a valid Unicode character"}},
    {"[\"\\ud83d\\n\"]"sv, {"1:2: \\\\ud83d is not a valid Unicode character"}},
    {"[\"\\ud83d\"]"sv, {"1:2: \\\\ud83d is not a valid Unicode character"}},
    {"[\"\\ud83d\\ud83d\"]"sv, {"1:2: \\\\ud83d is not a valid Unicode character"}},
    {"[\"\\uFDD0\"]"sv, {"1:2: \\\\uFDD0 is not a valid Unicode character"}},
    {"[\"\\ud83f\\udffe\"]"sv, {"1:2: \\\\ud83f\\\\udffe is not a valid Unicode character"}},
    {"[\"\\u+123\"]"sv, {"1:2: \\\\u+123 is not a valid Unicode character"}},
    {"[\"\\u 123\"]"sv, {"1:2: \\\\u 123 is not a valid Unicode character"}},
    {"[\"\\u12\303\251q\"]"sv, {"1:2: \\\\u12\\u00E9 is not a valid Unicode character"}},
    {"{\"i\":\"\360\237\277\276\"}"sv, {"1:6: invalid UTF-8 sequence in string"}},
    {"[\"ab\000cd\"]"sv, {"1:2: stray '\\\"ab'", "1:9: expecting value"}},
    {"[\"\377\377\"]"sv, {"1:2: stray '\\\"\\uFFFD'", "1:4: stray '\\uFFFD'", "1:6: expecting value"}},
    {"[\"\342\202\001"sv, {"1:2: stray '\\\"\\uFFFD\\u0001'"}},
    {"[\"\342\202A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\342\202\342\202\254\001"sv, {"1:2: stray '\\\"\\uFFFD\\u20AC\\u0001'"}},
    {"[\"\370\210\200\200\200A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\374\210\200\200\200\200A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\355\240\200A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\300\257A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\364\220\200\200A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\200\200A\001"sv, {"1:2: stray '\\\"\\uFFFD\\uFFFDA\\u0001'"}},
    {"[\"\340\200\200A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\360\237\230\377"sv, {"1:2: stray '\\\"\\uFFFD\\uFFFD'"}},
    {"[\"\360\237\230\376"sv, {"1:2: stray '\\\"\\uFFFD\\uFFFD'"}},
    {"[\"\302\377"sv, {"1:2: stray '\\\"\\uFFFD\\uFFFD'"}},
    {"[\"\357\277\277A\001"sv, {"1:2: stray '\\\"\\uFFFDA\\u0001'"}},
    {"[\"\342\202\\\001"sv, {"1:2: stray '\\\"\\uFFFD\\\\\\u0001'"}},
    {"[\"</script>&\342\200\250\001"sv, {"1:2: stray '\\\"</script>&\\u2028\\u0001'"}},
};
// clang-format on

TEST(Observed, EveryInputHasTheOutcomesOfQsd) {
  for (const Case& test : kCases) {
    Parser parser;
    parser.feed(test.input);
    EXPECT_EQ(outcomes_of(parser), test.outcomes) << test.input;
  }
}

TEST(Observed, OutcomesDoNotDependOnWhereTheInputIsSplit) {
  for (const Case& test : kCases) {
    for (std::size_t split = 0; split <= test.input.size(); ++split) {
      Parser parser;
      parser.feed(test.input.substr(0, split));
      std::vector<std::string> outcomes = outcomes_of(parser);
      parser.feed(test.input.substr(split));
      for (std::string& outcome : outcomes_of(parser)) outcomes.push_back(std::move(outcome));
      EXPECT_EQ(outcomes, test.outcomes) << test.input << " split at " << split;
    }
  }
}

TEST(Observed, ByteByByteGivesTheSameOutcomes) {
  for (const Case& test : kCases) {
    Parser parser;
    std::vector<std::string> outcomes;
    for (char byte : test.input) {
      parser.feed({&byte, 1});
      for (std::string& outcome : outcomes_of(parser)) outcomes.push_back(std::move(outcome));
    }
    EXPECT_EQ(outcomes, test.outcomes) << test.input;
  }
}

}  // namespace
}  // namespace blockexport::json
