// Which clusters are settled and readable, with sizes and ranges that end within a cluster.
#include "drivers/copy_before_write/frozen_clusters.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

using block::DirtyBits;
using block::Range;

constexpr std::uint32_t kCluster = 512;
constexpr std::uint64_t kBytes = 10 * kCluster + 100;  // the last cluster is cut off

std::unique_ptr<FrozenClusters> make(const DirtyBits* only = nullptr) {
  auto clusters = FrozenClusters::create(kBytes, kCluster, only);
  EXPECT_TRUE(clusters);
  return std::move(*clusters);
}

TEST(FrozenClustersTest, FindsTheClustersAroundAndInsideOfARange) {
  const auto clusters = make();
  EXPECT_EQ(clusters->around({100, 10}), (Range{0, 512}));
  EXPECT_EQ(clusters->around({511, 2}), (Range{0, 1024}));
  EXPECT_EQ(clusters->around({5125, 1}), (Range{5120, 100}));
  EXPECT_EQ(clusters->around({0, kBytes}), (Range{0, kBytes}));
  EXPECT_TRUE(clusters->around({kBytes + 1000, 5}).empty());
  EXPECT_EQ(clusters->inside({0, 512}), (Range{0, 512}));
  EXPECT_EQ(clusters->inside({1, 1023}), (Range{512, 512}));
  EXPECT_TRUE(clusters->inside({1, 1022}).empty());
  EXPECT_EQ(clusters->inside({5000, kBytes - 5000}), (Range{5120, 100}));
  EXPECT_TRUE(clusters->inside({5000, kBytes - 5001}).empty());
}

TEST(FrozenClustersTest, ACopiedClusterIsSettledAndStaysReadable) {
  const auto clusters = make();
  EXPECT_FALSE(clusters->is_settled({512, 1}));
  clusters->set_copied({512, 1024});
  EXPECT_TRUE(clusters->is_settled({512, 1024}));
  EXPECT_FALSE(clusters->is_settled({511, 2}));
  EXPECT_FALSE(clusters->is_settled({1535, 2}));
  EXPECT_EQ(clusters->readable_bytes({512, 1024}), 1024u);
  EXPECT_EQ(clusters->next_to_copy({0, kBytes}), (Range{0, 512}));
  EXPECT_EQ(clusters->next_to_copy({600, kBytes - 600}), (Range{1536, kBytes - 1536}));
  clusters->set_copied({5120, 100});
  EXPECT_TRUE(clusters->is_settled({5150, 70}));
}

TEST(FrozenClustersTest, ADroppedClusterIsSettledAndCannotBeRead) {
  const auto clusters = make();
  clusters->drop({1024, 512});
  EXPECT_TRUE(clusters->is_settled({1024, 512}));
  EXPECT_EQ(clusters->readable_bytes({1000, 100}), 24u);
  EXPECT_EQ(clusters->readable_bytes({1024, 512}), 0u);
  EXPECT_EQ(clusters->readable_bytes({1536, 512}), 512u);
}

TEST(FrozenClustersTest, OnlyClustersWithADirtyBitBelongToIt) {
  auto bits = DirtyBits::create(kBytes, 4 * kCluster);
  ASSERT_TRUE(bits);
  (*bits)->mark({5000, 1});  // the granule from 4096 to the end
  const auto clusters = make(bits->get());
  EXPECT_TRUE(clusters->is_settled({0, 4096}));
  EXPECT_EQ(clusters->readable_bytes({4095, 2}), 0u);
  EXPECT_FALSE(clusters->is_settled({4096, 1}));
  EXPECT_EQ(clusters->readable_bytes({4096, kBytes - 4096}), kBytes - 4096);
}

TEST(FrozenClustersTest, WhatWasGivenUpHoldsUpNobodyAndCannotBeRead) {
  const auto clusters = make();
  EXPECT_EQ(clusters->given_up_because(), std::nullopt);
  EXPECT_TRUE(clusters->give_up(Errno(ENOSPC)));
  // Only the first cause counts.
  EXPECT_FALSE(clusters->give_up(Errno(EIO)));
  EXPECT_EQ(clusters->given_up_because(), Errno(ENOSPC));
  EXPECT_TRUE(clusters->is_settled({0, kBytes}));
  EXPECT_EQ(clusters->readable_bytes({0, kBytes}), 0u);
}

TEST(FrozenClustersTest, BytesPastTheSizeHaveNoCluster) {
  const auto clusters = make();
  EXPECT_FALSE(clusters->next_to_copy(clusters->around({kBytes + 512, 512})));
}

}  // namespace
}  // namespace blockexport::drivers
