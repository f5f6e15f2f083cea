#include "drivers/qcow2/bitmaps/bitmap_clusters.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace blockexport::drivers::qcow2 {
namespace {

using block::DirtyBits;
using block::Range;

std::unique_ptr<DirtyBits> make_bits(std::uint64_t size_bytes, std::uint32_t granularity_bytes) {
  auto made = DirtyBits::create(size_bytes, granularity_bytes);
  EXPECT_TRUE(made);
  return std::move(*made);
}

std::vector<std::uint64_t> words_of(const DirtyBits& bits) {
  std::vector<std::uint64_t> words(bits.word_count());
  bits.copy_words(0, words);
  return words;
}

// The bytes of a cluster, aligned for words.
std::vector<std::uint64_t> cluster_words(const Geometry& geometry, const DirtyBits& bits, std::uint64_t cluster,
                                         std::uint64_t count = 1) {
  std::vector<std::uint64_t> words(count * geometry.cluster_bytes() / 8, 0x5555);
  copy_clusters(geometry, bits, cluster, std::as_writable_bytes(std::span(words)));
  return words;
}

TEST(Qcow2BitmapClustersTest, BitsAreReadAsTheyWereWritten) {
  std::mt19937_64 random(1);
  for (const unsigned cluster_bits : {9u, 12u, 16u}) {
    const Geometry geometry{.cluster_bits = cluster_bits};
    for (const std::uint64_t size_bytes : {512u, 4096u, 512u * 4096u, 512u * 4097u, 3u << 20, (40u << 20) + 1536u}) {
      SCOPED_TRACE(testing::Message() << "clusters of 2^" << cluster_bits << ", disk of " << size_bytes);
      const auto bits = make_bits(size_bytes, 512);
      for (int i = 0; i < 40; i++) {
        const std::uint64_t offset = random() % size_bytes;
        bits->mark({offset, 1 + random() % (random() % 3 == 0 ? size_bytes : 5000)});
        if (random() % 4 == 0) bits->clear({random() % size_bytes, random() % (size_bytes / 2 + 1)});
        const auto read = make_bits(size_bytes, 512);
        const std::uint64_t clusters = bitmap_clusters(geometry, size_bytes, 9);
        for (std::uint64_t cluster = 0; cluster < clusters; cluster++) {
          const auto words = cluster_words(geometry, *bits, cluster);
          mark_clusters(geometry, *read, cluster, std::as_bytes(std::span(words)));
        }
        ASSERT_EQ(words_of(*read), words_of(*bits));
        ASSERT_EQ(read->dirty_bytes(), bits->dirty_bytes());
      }
    }
  }
}

TEST(Qcow2BitmapClustersTest, ABatchHasTheBytesOfItsClusters) {
  const Geometry geometry{.cluster_bits = 9};
  const auto bits = make_bits(512u * 4096 * 5 + 512, 512);
  bits->mark({700, 9'000'000});
  const auto batch = cluster_words(geometry, *bits, 1, 5);
  std::vector<std::uint64_t> pieces;
  for (std::uint64_t cluster = 1; cluster < 6; cluster++) {
    const auto one = cluster_words(geometry, *bits, cluster);
    pieces.insert(pieces.end(), one.begin(), one.end());
  }
  EXPECT_EQ(batch, pieces);
}

TEST(Qcow2BitmapClustersTest, BitsBehindTheEndOfTheDiskAreIgnored) {
  const Geometry geometry{.cluster_bits = 9};
  const auto bits = make_bits(3 * 65536 - 512, 65536);
  const std::vector<std::uint64_t> ones(64, UINT64_MAX);
  mark_clusters(geometry, *bits, 0, std::as_bytes(std::span(ones)));
  EXPECT_EQ(words_of(*bits), std::vector<std::uint64_t>{7});
  mark_clusters(geometry, *bits, 5, std::as_bytes(std::span(ones)));
  mark_clusters(geometry, *bits, UINT32_MAX, std::as_bytes(std::span(ones)));
  EXPECT_EQ(words_of(*bits), std::vector<std::uint64_t>{7});
}

TEST(Qcow2BitmapClustersTest, AClusterOfEqualBitsIsRecognised) {
  const Geometry geometry{.cluster_bits = 9};
  // A cluster has the bits of 2 MiB; the last one has those of a part.
  const auto bits = make_bits((4u << 20) + 1024, 512);
  const auto kinds = [&] {
    std::vector<ClusterBits> all;
    for (std::uint64_t cluster = 0; cluster < 3; cluster++) all.push_back(kind_of_cluster(geometry, *bits, cluster));
    return all;
  };
  using enum ClusterBits;
  EXPECT_EQ(kinds(), (std::vector{kAllZeros, kAllZeros, kAllZeros}));
  bits->mark({2u << 20, 2u << 20});
  EXPECT_EQ(kinds(), (std::vector{kAllZeros, kAllOnes, kAllZeros}));
  bits->mark({(4u << 20) + 512, 1});
  EXPECT_EQ(kinds(), (std::vector{kAllZeros, kAllOnes, kMixed}));
  bits->mark({(4u << 20) - 512, 1024});
  EXPECT_EQ(kinds(), (std::vector{kAllZeros, kAllOnes, kAllOnes}));
  bits->mark({(2u << 20) - 1, 1});
  EXPECT_EQ(kinds(), (std::vector{kMixed, kAllOnes, kAllOnes}));
}

TEST(Qcow2BitmapClustersTest, TheNumberOfClustersFollowsFromTheDisk) {
  const Geometry geometry{.cluster_bits = 9};
  EXPECT_EQ(bitmap_clusters(geometry, 0, 16), 0u);
  EXPECT_EQ(bitmap_clusters(geometry, 1, 16), 1u);
  EXPECT_EQ(bitmap_clusters(geometry, 4096u * 65536, 16), 1u);
  EXPECT_EQ(bitmap_clusters(geometry, 4096u * 65536 + 1, 16), 2u);
  EXPECT_EQ(bitmap_bytes(65 * 65536, 16), 16u);
  EXPECT_EQ(bitmap_bytes(INT64_MAX, 9), std::uint64_t{1} << 51);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
