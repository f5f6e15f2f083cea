#include "drivers/qcow2/check/reference_counts.h"

#include <gtest/gtest.h>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kChunk = ReferenceCounts::kChunkClusters;

TEST(ReferenceCountsTest, CountsUpToTheGreatestRefcountAndTellsTheRest) {
  struct Case {
    unsigned order;
    std::uint64_t max;
  };
  for (const Case& one : {Case{0, 1}, Case{1, 3}, Case{2, 15}, Case{3, 255}, Case{4, 65535}, Case{5, UINT32_MAX}}) {
    ReferenceCounts counts(one.order, 1 << 20);
    EXPECT_EQ(counts.at(7), 0u);
    EXPECT_EQ(counts.add(7, one.max), 0u) << one.order;
    EXPECT_EQ(counts.at(7), one.max);
    EXPECT_EQ(counts.add(7, 3), 3u);
    EXPECT_EQ(counts.at(7), one.max);
    EXPECT_EQ(counts.at(6), 0u);
    EXPECT_EQ(counts.at(8), 0u);
  }
}

TEST(ReferenceCountsTest, TakesNoMemoryForClustersWithoutReferences) {
  ReferenceCounts counts(4, 2 * kChunk + 64 * sizeof(void*));
  EXPECT_EQ(counts.add(50 * kChunk + 1, 1), 0u);
  EXPECT_EQ(counts.add(50 * kChunk + 2, 1), 0u);
  EXPECT_EQ(counts.end(), 50 * kChunk + 3);
  EXPECT_EQ(counts.next_counted(0, counts.end()), 50 * kChunk);
  EXPECT_EQ(counts.next_counted(50 * kChunk + 2, counts.end()), 50 * kChunk + 2);
  EXPECT_EQ(counts.next_counted(51 * kChunk, 60 * kChunk), 60 * kChunk);
}

TEST(ReferenceCountsTest, RefusesMoreMemoryThanItMayHave) {
  ReferenceCounts counts(4, 2 * kChunk + 64 * sizeof(void*));
  ASSERT_EQ(counts.add(0, 1), 0u);
  const auto refused = counts.add(kChunk, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), Errno(ENOMEM));
  // The list of chunks counts too.
  const auto too_far = counts.add(std::uint64_t{1} << 40, 1);
  ASSERT_FALSE(too_far);
  EXPECT_EQ(too_far.error(), Errno(ENOMEM));
  counts.clear();
  EXPECT_EQ(counts.end(), 0u);
  EXPECT_EQ(counts.at(0), 0u);
  EXPECT_EQ(counts.add(kChunk, 1), 0u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
