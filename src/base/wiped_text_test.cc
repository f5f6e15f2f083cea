#include "base/wiped_text.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace blockexport {
namespace {

// std::string stores a short text inside the object and a long one on the heap, so both are tested.
const std::string kShort = "geheim";
const std::string kLong(100, 'g');

TEST(WipedText, HoldsWhatItWasGiven) {
  for (const std::string& text : {std::string(), kShort, kLong}) {
    WipedText one{std::string_view(text)};
    WipedText two{std::string(text)};
    EXPECT_EQ(one.view(), text);
    EXPECT_EQ(one.string(), text);
    EXPECT_EQ(one.size(), text.size());
    EXPECT_EQ(one.empty(), text.empty());
    EXPECT_EQ(one, two);
  }
  const WipedText nothing;
  EXPECT_EQ(nothing.string(), "");
}

TEST(WipedText, NothingIsLeftInWhatItTookOver) {
  std::string text = kShort;
  WipedText taken(std::move(text));
  EXPECT_EQ(taken.view(), kShort);
  EXPECT_EQ(std::string(text.data(), kShort.size()), std::string(kShort.size(), '\0'));  // NOLINT
}

TEST(WipedText, MovingMovesNoByte) {
  WipedText text{std::string_view(kShort)};
  const char* bytes = text.view().data();
  WipedText moved(std::move(text));
  EXPECT_EQ(moved.view().data(), bytes);
  EXPECT_TRUE(text.empty());  // NOLINT
}

TEST(WipedText, ACopyIsItsOwn) {
  WipedText text{std::string_view(kLong)};
  WipedText copy(text);
  text.clear();
  EXPECT_EQ(copy.view(), kLong);
  text = copy;
  copy.blank(0, copy.size());
  EXPECT_EQ(text.view(), kLong);
}

TEST(WipedText, GrowsAndShrinks) {
  WipedText text;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    text.append(kShort);
    expected += kShort;
  }
  EXPECT_EQ(text.view(), expected);
  text.remove_prefix(10);
  EXPECT_EQ(text.view(), expected.substr(10));
  text.blank(1, 2);
  expected.replace(11, 2, 2, '\0');
  EXPECT_EQ(text.view(), expected.substr(10));
  text.remove_prefix(text.size());
  EXPECT_TRUE(text.empty());
}

TEST(WipedText, WhatIsCutOffIsOverwritten) {
  WipedText text(std::string_view("xxxxgeheim"));
  const char* bytes = text.view().data();
  text.remove_prefix(4);
  EXPECT_EQ(std::string_view(bytes, 10), std::string_view("geheim\0\0\0\0", 10));
}

}  // namespace
}  // namespace blockexport
