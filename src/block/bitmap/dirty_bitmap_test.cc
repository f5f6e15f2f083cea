#include "block/bitmap/dirty_bitmap.h"

#include <gtest/gtest.h>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kMib = 1024 * 1024;

std::unique_ptr<DirtyBitmap> make(std::uint64_t size_bytes = kMib, std::uint32_t granularity_bytes = 65'536) {
  auto bitmap = DirtyBitmap::create("b0", size_bytes, granularity_bytes);
  EXPECT_TRUE(bitmap.has_value());
  return bitmap ? std::move(*bitmap) : nullptr;
}

// The message of an error; "" for success.
std::string refusal(const Result<>& result) {
  return result ? "" : result.error().message();
}

constexpr const char* kBusy = "Bitmap 'b0' is currently in use by another operation and cannot be used";
constexpr const char* kReadOnly = "Bitmap 'b0' is readonly and cannot be modified";
constexpr const char* kInconsistent = "Bitmap 'b0' is inconsistent and cannot be used";

TEST(DirtyBitmap, MarksWhileItIsEnabled) {
  auto bitmap = make();
  EXPECT_TRUE(bitmap->is_recording());
  bitmap->mark({0, 1});
  bitmap->set_enabled(false);
  EXPECT_FALSE(bitmap->is_recording());
  bitmap->mark({kMib - 1, 1});
  EXPECT_EQ(bitmap->bits().dirty_bytes(), 65'536u);
  bitmap->set_enabled(true);
  bitmap->mark({kMib - 1, 1});
  EXPECT_EQ(bitmap->bits().dirty_bytes(), 2u * 65'536);
}

TEST(DirtyBitmap, TakesTheClusterSizeAsGranularityWithinBounds) {
  EXPECT_EQ(DirtyBitmap::default_granularity_bytes(std::nullopt), 65'536u);
  EXPECT_EQ(DirtyBitmap::default_granularity_bytes(512), 4096u);
  EXPECT_EQ(DirtyBitmap::default_granularity_bytes(16'384), 16'384u);
  EXPECT_EQ(DirtyBitmap::default_granularity_bytes(2 * kMib), 65'536u);
}

TEST(DirtyBitmap, RefusesAnEmptyNameAndInvalidGranularities) {
  EXPECT_EQ(refusal(DirtyBitmap::check_is_named("")), "Bitmap name cannot be empty");
  EXPECT_EQ(refusal(DirtyBitmap::check_is_named("b0")), "");
  for (std::uint64_t granularity : {0u, 1u, 256u, 65'537u, UINT32_MAX}) {
    EXPECT_EQ(refusal(DirtyBitmap::check_granularity(granularity)), "Granularity must be power of 2 and at least 512");
  }
  EXPECT_EQ(refusal(DirtyBitmap::check_granularity(512)), "");
}

TEST(DirtyBitmap, RefusesEveryUseWhileItIsBusy) {
  auto bitmap = make();
  bitmap->set_busy(true);
  bitmap->set_read_only(true);
  bitmap->make_inconsistent();
  for (auto use : {DirtyBitmap::Use::kRemove, DirtyBitmap::Use::kChange, DirtyBitmap::Use::kRead}) {
    EXPECT_EQ(refusal(bitmap->check(use)), kBusy);
  }
  bitmap = make();
  bitmap->set_busy(true);
  bitmap->set_busy(false);
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kChange)), "");
}

TEST(DirtyBitmap, RefusesChangesWhileItIsReadOnly) {
  auto bitmap = make();
  bitmap->set_read_only(true);
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kRemove)), kReadOnly);
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kChange)), kReadOnly);
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kRead)), "");
}

TEST(DirtyBitmap, CanOnlyBeRemovedOnceItIsInconsistent) {
  auto bitmap = make();
  bitmap->make_inconsistent();
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kRemove)), "");
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kChange)), kInconsistent);
  EXPECT_EQ(refusal(bitmap->check(DirtyBitmap::Use::kRead)), kInconsistent);
  EXPECT_FALSE(bitmap->is_recording());
}

TEST(DirtyBitmap, RefusesAMergeIntoABitmapOfAnotherSize) {
  auto bitmap = make();
  EXPECT_EQ(refusal(bitmap->check_source(kMib)), "");
  EXPECT_EQ(refusal(bitmap->check_source(2 * kMib)),
            "Bitmaps are of different sizes (destination size is 2097152, source size is 1048576) and can't be merged");
  bitmap->set_busy(true);
  EXPECT_EQ(refusal(bitmap->check_source(2 * kMib)), kBusy);
}

TEST(DirtyBitmap, FollowsTheSizeOfItsNode) {
  auto bitmap = make();
  bitmap->mark({0, kMib});
  EXPECT_EQ(refusal(bitmap->resize(2 * kMib)), "");
  EXPECT_EQ(bitmap->bits().size_bytes(), 2 * kMib);
  EXPECT_EQ(bitmap->bits().dirty_bytes(), kMib);
}

TEST(DirtyBitmap, BecomesInconsistentWhenItCannotGrow) {
  auto bitmap = make(kMib, 512);
  EXPECT_EQ(
      refusal(bitmap->resize(UINT64_MAX)),
      "Bitmap 'b0' cannot grow with its node, and is inconsistent now: a bitmap has at most 2199023255552 granules");
  EXPECT_TRUE(bitmap->is_inconsistent());
  // An export that uses it from now on must not report a dirty block as clean.
  bitmap->mark({0, 1});
  EXPECT_EQ(bitmap->bits().run_at({0, 512}), (DirtyBits::Run{512, true}));
  EXPECT_EQ(bitmap->bits().run_at({kMib, 512}), (DirtyBits::Run{512, true}));
}

TEST(DirtyBitmap, ReportsThatItCannotBeAllocated) {
  auto bitmap = DirtyBitmap::create("b0", UINT64_MAX, 512);
  ASSERT_FALSE(bitmap.has_value());
  EXPECT_EQ(bitmap.error().message(), "Cannot allocate bitmap 'b0': a bitmap has at most 2199023255552 granules");
  EXPECT_FALSE(bitmap.error().hint().empty());
}

}  // namespace
}  // namespace blockexport::block
