#include "block/bitmap/bitmap_list.h"

#include <gtest/gtest.h>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kSize = 1024 * 1024;

std::string refusal(const Result<DirtyBitmap*>& result) {
  return result ? "" : result.error().message();
}

std::vector<std::string> names_of(const BitmapList& list) {
  std::vector<std::string> names;
  for (const auto& bitmap : list.all()) names.push_back(bitmap->name());
  return names;
}

TEST(BitmapList, HoldsBitmapsInTheOrderOfTheirCreation) {
  BitmapList list;
  for (const char* name : {"b", "a", "c"}) EXPECT_EQ(refusal(list.add(name, kSize, 65'536)), "");
  EXPECT_EQ(names_of(list), (std::vector<std::string>{"b", "a", "c"}));
  DirtyBitmap* bitmap = list.find("a");
  ASSERT_NE(bitmap, nullptr);
  std::unique_ptr<DirtyBitmap> taken = list.take(*bitmap);
  EXPECT_EQ(taken.get(), bitmap);
  EXPECT_EQ(names_of(list), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(refusal(list.add("a", kSize, 512)), "");
  EXPECT_EQ(names_of(list), (std::vector<std::string>{"b", "c", "a"}));
}

TEST(BitmapList, NamesAMissingBitmap) {
  BitmapList list;
  EXPECT_EQ(list.find("x"), nullptr);
  EXPECT_EQ(refusal(list.require("x")), "Dirty bitmap 'x' not found");
  EXPECT_EQ(refusal(list.add("x", kSize, 512)), "");
  auto found = list.require("x");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(*found, list.find("x"));
}

TEST(BitmapList, RefusesBadBitmapsAsQemuDoesAndInItsOrder) {
  BitmapList list;
  const std::string long_name(1024, 'n');
  EXPECT_EQ(refusal(list.add("", kSize, 0)), "Bitmap name cannot be empty");
  EXPECT_EQ(refusal(list.add(long_name, kSize, 0)), "Granularity must be power of 2 and at least 512");
  EXPECT_EQ(refusal(list.add(long_name, kSize, 512)), "Bitmap name too long: " + long_name);
  EXPECT_EQ(refusal(list.add(std::string(1023, 'n'), kSize, 512)), "");
  EXPECT_EQ(refusal(list.add("b", kSize, 512)), "");
  EXPECT_EQ(refusal(list.add("b", kSize, 4096)), "Bitmap already exists: b");
  EXPECT_EQ(refusal(list.add("c", UINT64_MAX, 512)),
            "Cannot allocate bitmap 'c': a bitmap has at most 2199023255552 granules");
  EXPECT_EQ(list.all().size(), 2u);
}

}  // namespace
}  // namespace blockexport::block
