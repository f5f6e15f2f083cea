#include "json/value.h"

#include <gtest/gtest.h>

#include <limits>

namespace blockexport::json {
namespace {

std::string member_name(int i) {
  return "member-" + std::to_string(i);
}

TEST(Value, IntegersKeepTheShapeTheirSizeNeeds) {
  EXPECT_EQ(Value(-1).kind(), Kind::kInteger);
  EXPECT_EQ(Value(std::uint64_t{7}).kind(), Kind::kInteger);
  EXPECT_EQ(*Value(std::numeric_limits<std::int64_t>::min()).as_integer(), std::numeric_limits<std::int64_t>::min());
  Value above(std::uint64_t{1} << 63);
  EXPECT_EQ(above.kind(), Kind::kUnsigned);
  EXPECT_EQ(*above.as_unsigned(), std::uint64_t{1} << 63);
}

TEST(Value, AccessorsOfOtherKindsAreNull) {
  Value value("text");
  EXPECT_EQ(*value.as_string(), "text");
  EXPECT_EQ(value.as_bool(), nullptr);
  EXPECT_EQ(value.as_object(), nullptr);
  EXPECT_TRUE(Value().is_null());
  EXPECT_FALSE(Value(false).is_null());
}

TEST(Value, EqualityIsDeepAndTellsNumberShapesApart) {
  EXPECT_EQ(Value(Array{1, "a"}), Value(Array{1, "a"}));
  EXPECT_FALSE(Value(1) == Value(1.0));
  EXPECT_FALSE(Value(Array{1}) == Value(Array{1, 2}));
  EXPECT_EQ(Value(Object{{"a", 1}, {"b", 2}}), Value(Object{{"b", 2}, {"a", 1}}));
}

TEST(Object, KeepsInsertionOrderAndUniqueNames) {
  Object object{{"b", 1}, {"a", 2}};
  EXPECT_FALSE(object.insert("b", 3));
  object.set("b", 4);
  ASSERT_EQ(object.size(), 2u);
  EXPECT_EQ(object.begin()->first, "b");
  EXPECT_EQ(*object.begin()->second.as_integer(), 4);
  EXPECT_TRUE(object.erase("b"));
  EXPECT_FALSE(object.erase("b"));
  EXPECT_EQ(object.find("b"), nullptr);
}

TEST(Object, LargeObjectFindsReplacesAndErasesLikeASmallOne) {
  Object object;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(object.insert(member_name(i), i));
  EXPECT_FALSE(object.insert(member_name(17), 0));
  object.set(member_name(999), "last");
  EXPECT_TRUE(object.erase(member_name(0)));
  EXPECT_EQ(object.find(member_name(0)), nullptr);
  EXPECT_EQ(object.find("absent"), nullptr);
  for (int i = 1; i < 999; ++i) ASSERT_EQ(*object.find(member_name(i))->as_integer(), i);
  EXPECT_EQ(*object.find(member_name(999))->as_string(), "last");
}

TEST(Object, CopyOfALargeObjectIsIndependent) {
  Object object;
  for (int i = 0; i < 100; ++i) object.set(member_name(i), i);
  Object copy = object;
  EXPECT_EQ(copy, object);
  copy.erase(member_name(50));
  EXPECT_NE(object.find(member_name(50)), nullptr);
  Object moved = std::move(copy);
  EXPECT_EQ(moved.find(member_name(50)), nullptr);
  EXPECT_EQ(*moved.find(member_name(99))->as_integer(), 99);
}

TEST(Object, HundredThousandNamesAreNotQuadratic) {
  Object object;
  for (int i = 0; i < 100000; ++i) ASSERT_TRUE(object.insert(member_name(i), i));
  for (int i = 0; i < 100000; ++i) ASSERT_NE(object.find(member_name(i)), nullptr);
}

}  // namespace
}  // namespace blockexport::json
