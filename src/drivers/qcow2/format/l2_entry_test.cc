#include "drivers/qcow2/format/l2_entry.h"

#include <gtest/gtest.h>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 0x50000;

TEST(L2EntryTest, TellsTheFourKindsOfAStandardEntry) {
  const Geometry geometry;
  EXPECT_EQ(place_of(geometry, {}).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(place_of(geometry, {kEntryZero}).kind, ClusterKind::kZero);
  EXPECT_FALSE(place_of(geometry, {kEntryZero}).has_host_cluster);

  const ClusterPlace reserved = place_of(geometry, {kCluster | kEntryCopied | kEntryZero});
  EXPECT_EQ(reserved.kind, ClusterKind::kZero);
  EXPECT_TRUE(reserved.has_host_cluster);
  EXPECT_EQ(reserved.host_offset, kCluster);

  const ClusterPlace data = place_of(geometry, {encode_data(kCluster, true)});
  EXPECT_EQ(data.kind, ClusterKind::kData);
  EXPECT_TRUE(data.copied);
  EXPECT_EQ(data.host_offset, kCluster);
  EXPECT_FALSE(place_of(geometry, {encode_data(kCluster, false)}).copied);
}

TEST(L2EntryTest, HasNoZeroFlagInVersion2) {
  const Geometry geometry{.zero_flag = false};
  EXPECT_EQ(place_of(geometry, {kEntryZero}).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(place_of(geometry, {kCluster | kEntryZero}).kind, ClusterKind::kData);
}

TEST(L2EntryTest, TakesOffsetZeroForAClusterOnlyInADataFile) {
  EXPECT_EQ(place_of({}, {kEntryCopied}), (ClusterPlace{}));
  const ClusterPlace first = place_of({.data_file = true}, {kEntryCopied});
  EXPECT_EQ(first.kind, ClusterKind::kData);
  EXPECT_TRUE(first.copied);
  EXPECT_EQ(first.host_offset, 0u);
}

TEST(L2EntryTest, RefusesAnOffsetThatIsNotThatOfACluster) {
  EXPECT_EQ(place_of({}, {kCluster + 512}).kind, ClusterKind::kInvalid);
  EXPECT_EQ(place_of({.cluster_bits = 9}, {kCluster + 512}).kind, ClusterKind::kData);
}

TEST(L2EntryTest, EncodesCompressedClustersOfEverySize) {
  for (unsigned cluster_bits = kClusterBitsMin; cluster_bits <= kClusterBitsMax; ++cluster_bits) {
    const Geometry geometry{.cluster_bits = cluster_bits};
    for (const std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{511}, geometry.cluster_bytes() - 1}) {
      for (const std::uint64_t offset : {kCluster, kCluster + 1, kCluster + 511}) {
        const auto descriptor = encode_compressed(geometry, offset, bytes);
        ASSERT_TRUE(descriptor);
        const ClusterPlace place = place_of(geometry, {*descriptor});
        EXPECT_EQ(place.kind, ClusterKind::kCompressed);
        EXPECT_EQ(place.host_offset, offset);
        EXPECT_FALSE(place.has_host_cluster);
        EXPECT_GE(place.compressed_bytes, bytes);
        EXPECT_LT(place.compressed_bytes, bytes + 512);
        EXPECT_EQ((offset + place.compressed_bytes) % 512, 0u);
      }
    }
  }
}

TEST(L2EntryTest, EncodesNoCompressedClusterThatDoesNotFitItsFields) {
  const Geometry geometry;
  EXPECT_FALSE(encode_compressed(geometry, kCluster, 0));
  EXPECT_FALSE(encode_compressed(geometry, std::uint64_t{1} << 54, 512));
  EXPECT_FALSE(encode_compressed(geometry, kCluster, 256 * 512 + 1));
  EXPECT_TRUE(encode_compressed(geometry, kCluster, 256 * 512));
}

TEST(L2EntryTest, RefusesACompressedClusterInADataFileAndOneTooFarAway) {
  const auto descriptor = encode_compressed({}, kCluster, 512);
  EXPECT_EQ(place_of({.data_file = true}, {*descriptor}).kind, ClusterKind::kInvalid);
  const Geometry small{.cluster_bits = 9};
  EXPECT_EQ(place_of(small, {kEntryCompressed | kHostOffsetLimit}).kind, ClusterKind::kInvalid);
}

TEST(L2EntryTest, TellsSubclustersApart) {
  const Geometry geometry{.extended_l2 = true};
  const L2Entry entry{encode_data(kCluster, true), allocated_bits(0, 4) | zero_bits(4, 2) | allocated_bits(31, 1)};
  EXPECT_EQ(subcluster_kind(geometry, entry, 0), ClusterKind::kData);
  EXPECT_EQ(subcluster_kind(geometry, entry, 3), ClusterKind::kData);
  EXPECT_EQ(subcluster_kind(geometry, entry, 4), ClusterKind::kZero);
  EXPECT_EQ(subcluster_kind(geometry, entry, 6), ClusterKind::kUnallocated);
  EXPECT_EQ(subcluster_kind(geometry, entry, 31), ClusterKind::kData);
  EXPECT_EQ(subcluster_run(geometry, entry, 0), 4u);
  EXPECT_EQ(subcluster_run(geometry, entry, 1), 3u);
  EXPECT_EQ(subcluster_run(geometry, entry, 4), 2u);
  EXPECT_EQ(subcluster_run(geometry, entry, 6), 25u);
  EXPECT_EQ(subcluster_run(geometry, entry, 31), 1u);
}

TEST(L2EntryTest, TakesAllSubclustersOfOneKindAsOneRun) {
  const Geometry geometry{.extended_l2 = true};
  EXPECT_EQ(subcluster_run(geometry, {}, 0), 32u);
  EXPECT_EQ(subcluster_run(geometry, {encode_data(kCluster, true), allocated_bits(0, 32)}, 5), 27u);
  EXPECT_EQ(subcluster_run(geometry, {0, zero_bits(0, 32)}, 31), 1u);
}

TEST(L2EntryTest, RefusesContradictoryBitsOfASubcluster) {
  const Geometry geometry{.extended_l2 = true};
  const std::uint64_t both = allocated_bits(2, 1) | zero_bits(2, 1);
  EXPECT_EQ(subcluster_kind(geometry, {encode_data(kCluster, true), both}, 2), ClusterKind::kInvalid);
  EXPECT_EQ(subcluster_kind(geometry, {encode_data(kCluster, true), both}, 3), ClusterKind::kUnallocated);
  EXPECT_EQ(subcluster_kind(geometry, {0, allocated_bits(2, 1)}, 2), ClusterKind::kInvalid);
  const auto compressed = encode_compressed(geometry, kCluster, 512);
  EXPECT_EQ(subcluster_kind(geometry, {*compressed}, 2), ClusterKind::kCompressed);
  EXPECT_EQ(subcluster_kind(geometry, {*compressed, zero_bits(2, 1)}, 2), ClusterKind::kInvalid);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
