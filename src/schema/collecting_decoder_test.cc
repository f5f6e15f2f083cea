#include "schema/collecting_decoder.h"

#include <gtest/gtest.h>

#include "sample_schema/sample.h"
#include "schema/codec.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::array;
using test::object;

// "PATH: MESSAGE", one a line.
template <class T>
std::string errors_of(const json::Value& document, std::size_t errors_max = 100, const std::string& prefix = "") {
  std::vector<DecodingError> errors;
  (void)decode_collecting<T>(document, prefix, errors_max, errors);
  std::string text;
  for (const DecodingError& error : errors) {
    for (std::size_t i = 0; i < error.path.size(); ++i) text += (i > 0 ? "/" : "") + error.path[i];
    text += ": " + error.message + "\n";
  }
  return text;
}

TEST(CollectingDecoder, AcceptsTheSameDocuments) {
  EXPECT_EQ(errors_of<Point>(object({{"x", 1}, {"y", 2}})), "");
  EXPECT_EQ(errors_of<Shape>(object({{"kind", "wrapper"}, {"inner", object({{"kind", "dot"}})}})), "");
}

TEST(CollectingDecoder, FindsAllErrors) {
  EXPECT_EQ(errors_of<Everything>(
                object({{"str", 1}, {"bool", "on"}, {"uint8", 256}, {"enum", "blue"}, {"other", 1}, {"another", 2}})),
            "str: Invalid parameter type for 'str', expected: string\n"
            "uint8: Parameter 'uint8' expects uint8_t\n"
            "bool: Invalid parameter type for 'bool', expected: boolean\n"
            "enum: Parameter 'enum' does not accept value 'blue'\n"
            "other: Parameter 'other' is unexpected\n"
            "another: Parameter 'another' is unexpected\n");
}

TEST(CollectingDecoder, GoesOnAfterMissingMembersAndInLists) {
  EXPECT_EQ(errors_of<Lists>(object({{"points", array({object({{"x", 1}}), 3, object({{"x", "a"}, {"y", 1}})})},
                                     {"strings", array({1, "a", 2})},
                                     {"sizes", "none"}})),
            "strings/0: Invalid parameter type for 'strings[0]', expected: string\n"
            "strings/2: Invalid parameter type for 'strings[2]', expected: string\n"
            "sizes: Invalid parameter type for 'sizes', expected: array\n"
            "points/0/y: Parameter 'points[0].y' is missing\n"
            "points/1: Invalid parameter type for 'points[1]', expected: object\n"
            "points/2/x: Invalid parameter type for 'points[2].x', expected: integer\n");
}

TEST(CollectingDecoder, HidesErrorsThatDependOnAnUnknownBranch) {
  EXPECT_EQ(errors_of<Shape>(object({{"kind", "circel"}, {"radius", "x"}, {"label", 7}})),
            "kind: Parameter 'kind' does not accept value 'circel'\n");
  EXPECT_EQ(errors_of<Shape>(object({{"radius", 1}})), "kind: Parameter 'kind' is missing\n");
}

TEST(CollectingDecoder, SkipsAlternatesOfAnotherKind) {
  EXPECT_EQ(errors_of<Shape>(object({{"kind", "wrapper"}, {"inner", 7}, {"label", 7}})),
            "label: Invalid parameter type for 'label', expected: string\n"
            "inner: Invalid parameter type for 'inner', expected: object or string\n");
  EXPECT_EQ(errors_of<Shape>(object({{"kind", "group"}, {"shapes", array({1, "a", array({})})}})),
            "shapes/0: Invalid parameter type for 'shapes[0]', expected: object or string\n"
            "shapes/2: Invalid parameter type for 'shapes[2]', expected: object or string\n");
}

TEST(CollectingDecoder, RefusesNegativeNumbersWhereNoneBelongs) {
  EXPECT_EQ(errors_of<Everything>(object({{"uint64", -1}, {"size", -5}})),
            "uint64: Parameter 'uint64' expects a number that is not negative\n"
            "size: Parameter 'size' expects a number that is not negative\n");
}

TEST(CollectingDecoder, ReportsAMisspellingOnceWhereItIs) {
  EXPECT_EQ(errors_of<Shape>(object({{"knd", "circle"}, {"radius", 1}})), "knd: Parameter 'knd' is unexpected\n");
  EXPECT_EQ(errors_of<Shape>(object({{"kind", "circle"}, {"radiu", 1}})), "radiu: Parameter 'radiu' is unexpected\n");
}

TEST(CollectingDecoder, PutsAPrefixBeforePaths) {
  EXPECT_EQ(errors_of<Point>(object({{"x", "a"}, {"y", 1}, {"z", 1}}), 100, "here.it"),
            "x: Invalid parameter type for 'here.it.x', expected: integer\n"
            "z: Parameter 'here.it.z' is unexpected\n");
}

TEST(CollectingDecoder, KeepsALimitedNumberOfErrors) {
  const json::Value document = object({{"a", 1}, {"b", 1}, {"c", 1}});
  CollectingDecoder decoder(document, "", 2);
  Everything value;
  EXPECT_TRUE(visit(decoder, nullptr, value));
  EXPECT_EQ(decoder.errors().size(), 2U);
  EXPECT_EQ(decoder.errors_not_kept(), 1U);
}

}  // namespace
}  // namespace blockexport::schema
