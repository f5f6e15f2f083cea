#include "schema/keyval_decoder.h"

#include <gtest/gtest.h>

#include "sample_schema/sample.h"
#include "schema/codec.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::array;
using test::object;

template <class T>
T decoded(const json::Value& document) {
  return test::value_of(decode_keyval<T>(document));
}

template <class T>
std::string error_of(const json::Value& document) {
  return test::error_of(decode_keyval<T>(document));
}

TEST(KeyvalDecoder, MakesStringsWhatTheSchemaAsksFor) {
  auto value = decoded<Everything>(object({{"str", "text"},
                                           {"number", "1.5"},
                                           {"int", "-0x10"},
                                           {"uint16", "017"},
                                           {"uint64", "18446744073709551615"},
                                           {"size", "1.5k"},
                                           {"bool", "yes"},
                                           {"enum", "3d"}}));
  EXPECT_EQ(value.str, "text");
  EXPECT_EQ(value.number, 1.5);
  EXPECT_EQ(value.int_, -16);
  EXPECT_EQ(value.uint16, 15);
  EXPECT_EQ(value.uint64, UINT64_MAX);
  EXPECT_EQ(value.size, 1536U);
  EXPECT_EQ(value.bool_, true);
  EXPECT_EQ(value.enum_, Color::k3d);
}

TEST(KeyvalDecoder, KnowsTheWordsForOnAndOff) {
  for (const char* word : {"on", "yes", "true", "y"}) EXPECT_EQ(parse_boolean(word), true) << word;
  for (const char* word : {"off", "no", "false", "n"}) EXPECT_EQ(parse_boolean(word), false) << word;
  for (const char* word : {"ON", "True", "1", "", "o"}) EXPECT_EQ(parse_boolean(word), std::nullopt) << word;
}

TEST(KeyvalDecoder, ReadsSizes) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("010"), 10U);
  EXPECT_EQ(parse_size("0x200"), 512U);
  EXPECT_EQ(parse_size(" +512"), 512U);
  EXPECT_EQ(parse_size("512.0"), 512U);
  EXPECT_EQ(parse_size("1b"), 1U);
  EXPECT_EQ(parse_size("1.K"), 1024U);
  EXPECT_EQ(parse_size("0.1k"), 102U);
  EXPECT_EQ(parse_size("3M"), 3U << 20);
  EXPECT_EQ(parse_size("1e"), std::uint64_t{1} << 60);
  EXPECT_EQ(parse_size("15E"), std::uint64_t{15} << 60);
  EXPECT_EQ(parse_size("18446744073709551615"), UINT64_MAX);
}

TEST(KeyvalDecoder, RefusesWhatIsNoSize) {
  for (const char* text : {"", " ", "-1", "1x", "1.5", ".5k", "1e3", "16E", "18446744073709551616", "512 ", "1kb", "0x",
                           "0x10k", "inf", "nan", "k", "1..5k", "0x1p3"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

TEST(KeyvalDecoder, RefusesWhatIsNoInteger) {
  for (const char* text : {"", "1k", "0x", "1 ", "9223372036854775808", "one"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_unsigned("18446744073709551616"), std::nullopt);
  EXPECT_EQ(parse_unsigned("-1"), UINT64_MAX);
}

TEST(KeyvalDecoder, TellsWhatItExpects) {
  EXPECT_EQ(error_of<Everything>(object({{"bool", "maybe"}})), "Parameter 'bool' expects 'on' or 'off'");
  EXPECT_EQ(error_of<Everything>(object({{"int", "1k"}})), "Parameter 'int' expects integer");
  EXPECT_EQ(error_of<Everything>(object({{"uint64", "x"}})), "Parameter 'uint64' expects integer");
  EXPECT_EQ(error_of<Everything>(object({{"size", "1x"}})), "Parameter 'size' expects size");
  EXPECT_EQ(error_of<Everything>(object({{"number", "inf"}})), "Parameter 'number' expects number");
  EXPECT_EQ(error_of<Everything>(object({{"uint16", "70000"}})), "Parameter 'uint16' expects uint16_t");
  EXPECT_EQ(error_of<Everything>(object({{"enum", "blue"}})), "Parameter 'enum' does not accept value 'blue'");
  EXPECT_EQ(error_of<Point>(object({{"x", "1"}})), "Parameter 'y' is missing");
  EXPECT_EQ(error_of<Point>(object({{"x", "1"}, {"y", "1"}, {"z", object({{"a", "1"}})}})),
            "Parameter 'z' is unexpected");
}

TEST(KeyvalDecoder, RefusesSubkeysOfScalars) {
  EXPECT_EQ(error_of<Everything>(object({{"str", object({{"a", "1"}})}})), "Parameters 'str.*' are unexpected");
  EXPECT_EQ(error_of<Everything>(object({{"enum", array({"red"})}})), "Parameters 'enum.*' are unexpected");
  EXPECT_EQ(error_of<Lists>(object({{"points", "a"}})), "Invalid parameter type for 'points', expected: array");
}

TEST(KeyvalDecoder, WritesIndicesWithDots) {
  EXPECT_EQ(error_of<Lists>(object({{"points", array({object({{"x", "a"}})})}})),
            "Parameter 'points.0.x' expects integer");
  EXPECT_EQ(error_of<Lists>(object({{"strings", array({"a", object({})})}})),
            "Parameters 'strings.1.*' are unexpected");
}

TEST(KeyvalDecoder, TellsAReferenceFromADefinitionByItsSubkeys) {
  auto named = decoded<Wrapper>(object({{"inner", "other"}}));
  EXPECT_EQ(*named.inner.name(), "other");
  auto defined = decoded<Wrapper>(object({{"inner", object({{"kind", "circle"}, {"radius", "3"}})}}));
  EXPECT_EQ(defined.inner.definition()->as<ShapeKind::kCircle>().radius, 3);
  EXPECT_EQ(error_of<Wrapper>(object({{"inner", array({"x"})}})),
            "Invalid parameter type for 'inner', expected: ShapeRef");
}

TEST(KeyvalDecoder, LetsStringsStandForTruthsAndNumbersInAlternates) {
  EXPECT_EQ(*decoded<Choices>(object({{"mixed", "on"}})).mixed->flag(), true);
  EXPECT_EQ(*decoded<Choices>(object({{"mixed", "12"}})).mixed->count(), 12);
  EXPECT_EQ(error_of<Choices>(object({{"mixed", "maybe"}})), "Parameter 'mixed' expects integer");
}

}  // namespace
}  // namespace blockexport::schema
