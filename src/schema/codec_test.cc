#include "schema/codec.h"

#include <gtest/gtest.h>

#include "sample_schema/sample.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::array;
using test::object;

// Decodes, encodes, and expects the same document back.
template <class T>
void expect_round_trip(const json::Value& document) {
  auto value = decode<T>(document);
  ASSERT_TRUE(value.has_value()) << value.error().message();
  EXPECT_EQ(encode(*value), document);
  auto again = decode<T>(encode(*value));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, *value);
}

TEST(Codec, WritesWhatItRead) {
  expect_round_trip<Point>(object({{"x", 1}, {"y", -2}, {"color", "old"}}));
  expect_round_trip<Everything>(object({{"str", ""}, {"uint64", UINT64_MAX}, {"bool", false}, {"null", json::Null{}}}));
  expect_round_trip<Everything>(object({{"int8", -1}, {"uint8", 255}, {"size", 1}, {"any", object({{"a", 1.5}})}}));
  expect_round_trip<Lists>(object({{"strings", array({"a", "b"})},
                                   {"truths", array({true, false})},
                                   {"sizes", array({1, 2})},
                                   {"colors", array({"3d"})},
                                   {"points", array({})},
                                   {"refs", array({"name", object({{"kind", "dot"}})})}}));
  expect_round_trip<Both>(object({{"outer", "nested"}, {"comment", "c"}, {"inner", "two"}}));
  expect_round_trip<Choices>(
      object({{"mixed", json::Null{}}, {"paints", array({"red", object({{"x", 1}, {"y", 1}})})}}));
  expect_round_trip<Awkward>(object({{"class", "a"}, {"default", true}, {"x-new", 1}, {"branch", 2}, {"value", 3}}));
}

TEST(Codec, LeavesOutAbsentMembers) {
  EXPECT_EQ(encode(Everything{}), object({}));
}

TEST(Codec, WritesListsOfObjects) {
  EXPECT_EQ(encode(std::vector<Sum>{{.sum = 1}, {.sum = 2}}), array({object({{"sum", 1}}), object({{"sum", 2}})}));
}

TEST(Codec, WritesUnionsByTheirBranch) {
  Shape shape;
  shape.branch.emplace<static_cast<std::size_t>(ShapeKind::kCircle)>(Circle{.radius = 3});
  EXPECT_EQ(encode(shape), object({{"kind", "circle"}, {"radius", 3}}));
}

TEST(Codec, CopiesBoxesDeeply) {
  Tree tree{.name = "a", .left = Tree{.name = "b", .left = {}, .children = {}}, .children = {}};
  Tree copy = tree;
  (*copy.left)->name = "c";
  EXPECT_EQ((*tree.left)->name, "b");
  EXPECT_NE(tree, copy);
}

TEST(Codec, KnowsTheNamesOfEnums) {
  EXPECT_EQ(name_of(Color::kDarkGreen), "dark-green");
  EXPECT_EQ(value_of<Color>("3d"), Color::k3d);
  EXPECT_EQ(value_of<Color>("blue"), std::nullopt);
}

TEST(Codec, TakesNoArgumentsForEmptyOnes) {
  EXPECT_TRUE(check_no_arguments(nullptr).has_value());
  json::Value empty = object({});
  EXPECT_TRUE(check_no_arguments(&empty).has_value());
  json::Value some = object({{"a", 1}});
  EXPECT_EQ(check_no_arguments(&some).error().message(), "Parameter 'a' is unexpected");
  EXPECT_EQ(decode_arguments<Sum>(nullptr).error().message(), "Parameter 'sum' is missing");
}

TEST(Events, CarryTheirData) {
  EXPECT_EQ(something_happened_event({.what = "this", .where = {}}),
            object({{"event", "SOMETHING_HAPPENED"}, {"data", object({{"what", "this"}})}}));
  EXPECT_EQ(shape_changed_event({}), object({{"event", "SHAPE_CHANGED"}, {"data", object({{"kind", "dot"}})}}));
  EXPECT_EQ(tick_event(), object({{"event", "TICK"}}));
}

}  // namespace
}  // namespace blockexport::schema
