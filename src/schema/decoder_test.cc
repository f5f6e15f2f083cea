#include "schema/decoder.h"

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
  return test::value_of(decode<T>(document));
}

template <class T>
std::string error_of(const json::Value& document) {
  return test::error_of(decode<T>(document));
}

TEST(Decoder, ReadsEveryBuiltInType) {
  auto value = decoded<Everything>(object({{"str", "text"},
                                           {"number", 1},
                                           {"int", -5},
                                           {"int8", -128},
                                           {"uint16", 65535},
                                           {"uint64", std::uint64_t{1} << 63},
                                           {"size", 4096},
                                           {"bool", true},
                                           {"null", json::Null{}},
                                           {"any", array({1, "a"})},
                                           {"qtype", "qdict"},
                                           {"enum", "dark-green"}}));
  EXPECT_EQ(value.str, "text");
  EXPECT_EQ(value.number, 1.0);
  EXPECT_EQ(value.int_, -5);
  EXPECT_EQ(value.int8, -128);
  EXPECT_EQ(value.uint16, 65535);
  EXPECT_EQ(value.uint64, std::uint64_t{1} << 63);
  EXPECT_EQ(value.size, 4096U);
  EXPECT_EQ(value.bool_, true);
  EXPECT_TRUE(value.null.has_value());
  EXPECT_EQ(value.any, array({1, "a"}));
  EXPECT_EQ(value.qtype, QType::kQdict);
  EXPECT_EQ(value.enum_, Color::kDarkGreen);
  EXPECT_FALSE(value.int16.has_value());
}

TEST(Decoder, NamesTheMissingMember) {
  EXPECT_EQ(error_of<Point>(object({{"x", 1}})), "Parameter 'y' is missing");
  EXPECT_EQ(error_of<Lists>(object({{"points", array({object({{"x", 1}, {"y", 2}}), object({{"y", 1}})})}})),
            "Parameter 'points[1].x' is missing");
}

TEST(Decoder, ReadsMembersOfTheBaseFirst) {
  EXPECT_EQ(error_of<Point>(object({{"y", "wrong"}, {"x", "wrong"}})),
            "Invalid parameter type for 'x', expected: integer");
}

TEST(Decoder, RefusesUnknownMembersAfterTheKnown) {
  EXPECT_EQ(error_of<Point>(object({{"z", 1}, {"x", 1}})), "Parameter 'y' is missing");
  EXPECT_EQ(error_of<Point>(object({{"z", 1}, {"x", 1}, {"y", 2}})), "Parameter 'z' is unexpected");
  EXPECT_EQ(error_of<Shape>(object({{"kind", "wrapper"}, {"inner", object({{"kind", "dot"}, {"a", 1}})}, {"b", 1}})),
            "Parameter 'inner.a' is unexpected");
}

TEST(Decoder, TellsTheExpectedType) {
  EXPECT_EQ(error_of<Everything>(object({{"str", 1}})), "Invalid parameter type for 'str', expected: string");
  EXPECT_EQ(error_of<Everything>(object({{"bool", "on"}})), "Invalid parameter type for 'bool', expected: boolean");
  EXPECT_EQ(error_of<Everything>(object({{"int", 1.0}})), "Invalid parameter type for 'int', expected: integer");
  EXPECT_EQ(error_of<Everything>(object({{"int", std::uint64_t{1} << 63}})),
            "Invalid parameter type for 'int', expected: integer");
  EXPECT_EQ(error_of<Everything>(object({{"number", "1"}})), "Invalid parameter type for 'number', expected: number");
  EXPECT_EQ(error_of<Everything>(object({{"null", 1}})), "Invalid parameter type for 'null', expected: null");
  EXPECT_EQ(error_of<Everything>(object({{"enum", 1}})), "Invalid parameter type for 'enum', expected: string");
  EXPECT_EQ(error_of<Lists>(object({{"points", object({})}})), "Invalid parameter type for 'points', expected: array");
  EXPECT_EQ(error_of<Lists>(object({{"points", array({3})}})),
            "Invalid parameter type for 'points[0]', expected: object");
  EXPECT_EQ(error_of<Lists>(object({{"strings", array({"a", 1})}})),
            "Invalid parameter type for 'strings[1]', expected: string");
}

TEST(Decoder, TellsTheExpectedSizeOfIntegers) {
  EXPECT_EQ(error_of<Everything>(object({{"uint8", 256}})), "Parameter 'uint8' expects uint8_t");
  EXPECT_EQ(error_of<Everything>(object({{"uint32", -1}})), "Parameter 'uint32' expects uint32_t");
  EXPECT_EQ(error_of<Everything>(object({{"int8", 128}})), "Parameter 'int8' expects int8_t");
  EXPECT_EQ(error_of<Everything>(object({{"uint16", 7.5}})), "Parameter 'uint16' expects uint64");
  EXPECT_EQ(error_of<Everything>(object({{"size", "1k"}})), "Parameter 'size' expects uint64");
  EXPECT_EQ(error_of<Everything>(object({{"int16", "1"}})), "Invalid parameter type for 'int16', expected: integer");
}

TEST(Decoder, WrapsNegativeUnsignedIntegers) {
  EXPECT_EQ(decoded<Everything>(object({{"uint64", -1}})).uint64, UINT64_MAX);
}

TEST(Decoder, NamesOnlyTheLastPartForValuesOfEnumsAndSmallIntegers) {
  auto wrong_color = object({{"points", array({object({{"x", 1}, {"y", 2}, {"color", "blue"}})})}});
  EXPECT_EQ(error_of<Lists>(wrong_color), "Parameter 'color' does not accept value 'blue'");
  EXPECT_EQ(error_of<Lists>(object({{"colors", array({"blue"})}})), "Parameter 'null' does not accept value 'blue'");
  EXPECT_EQ(error_of<Lists>(object({{"small", array({1, 300})}})), "Parameter 'null' expects uint8_t");
}

TEST(Decoder, ChoosesTheBranchOfAUnion) {
  auto circle = decoded<Shape>(object({{"radius", 7}, {"kind", "circle"}, {"label", "c"}}));
  EXPECT_EQ(circle.kind(), ShapeKind::kCircle);
  EXPECT_EQ(circle.as<ShapeKind::kCircle>().radius, 7);
  EXPECT_EQ(circle.as_if<ShapeKind::kGroup>(), nullptr);
  EXPECT_EQ(decoded<Shape>(object({{"kind", "dot"}})).kind(), ShapeKind::kDot);
  EXPECT_EQ(error_of<Shape>(object({{"kind", "dot"}, {"radius", 7}})), "Parameter 'radius' is unexpected");
  EXPECT_EQ(error_of<Shape>(object({{"kind", "gone"}, {"radius", 7}})),
            "Parameter 'kind' does not accept value 'gone'");
  EXPECT_EQ(error_of<Shape>(object({{"radius", 7}})), "Parameter 'kind' is missing");
}

TEST(Decoder, ReadsAUnionInABranchOfAUnion) {
  auto both = decoded<Both>(object({{"outer", "nested"}, {"inner", "one"}, {"first", 3}}));
  EXPECT_EQ(both.as<Outer::kNested>().as<Inner::kOne>().first, 3);
}

TEST(Decoder, ChoosesTheBranchOfAnAlternateByItsLooks) {
  EXPECT_EQ(*decoded<Choices>(object({{"mixed", true}})).mixed->flag(), true);
  EXPECT_EQ(*decoded<Choices>(object({{"mixed", 5}})).mixed->count(), 5);
  EXPECT_EQ(decoded<Choices>(object({{"mixed", object({{"x", 1}, {"y", 2}})}})).mixed->point()->y, 2);
  EXPECT_EQ(decoded<Choices>(object({{"mixed", array({"a"})}})).mixed->list()->at(0), "a");
  EXPECT_NE(decoded<Choices>(object({{"mixed", json::Null{}}})).mixed->no(), nullptr);
  EXPECT_EQ(*decoded<Choices>(object({{"paint", "red"}})).paint->color(), Color::kRed);
  EXPECT_EQ(error_of<Choices>(object({{"mixed", "a"}})), "Invalid parameter type for 'mixed', expected: Mixed");
  EXPECT_EQ(error_of<Choices>(object({{"paints", array({1})}})),
            "Invalid parameter type for 'null', expected: ColorOrPoint");
  EXPECT_EQ(error_of<Shape>(object({{"kind", "wrapper"}})), "Parameter 'inner' is missing");
}

TEST(Decoder, ReadsTypesThatContainThemselves) {
  auto tree = decoded<Tree>(object({{"name", "root"},
                                    {"left", object({{"name", "l"}, {"children", array({})}})},
                                    {"children", array({object({{"name", "c"}, {"children", array({})}})})}}));
  EXPECT_EQ((*tree.left)->name, "l");
  EXPECT_EQ(tree.children.at(0).name, "c");
}

TEST(Decoder, CutsLongValuesInErrors) {
  std::string value(100'000, 'x');
  EXPECT_LT(error_of<Everything>(object({{"enum", value}})).size(), 2000U);
}

TEST(Decoder, RefusesADocumentOfTheWrongKind) {
  EXPECT_EQ(error_of<Point>(json::Value(1)), "Invalid parameter type for 'null', expected: object");
}

}  // namespace
}  // namespace blockexport::schema
