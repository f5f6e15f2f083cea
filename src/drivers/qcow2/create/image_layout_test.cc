#include "drivers/qcow2/create/image_layout.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "base/byte_reader.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

std::uint64_t entry_at(std::span<const std::byte> table, std::uint64_t index) {
  ByteReader reader(table.subspan(index * 8, 8));
  return reader.u64();
}

// The tables of an image in memory; what is not a table is missing.
class Tables {
 public:
  explicit Tables(const ImageLayout& layout) : layout_(layout), bytes_(cluster_bytes(layout.data().first)) {
    const std::uint64_t first = cluster_bytes(1);
    const std::uint64_t end = layout.tables_end();
    layout_.fill(first, std::span(bytes_).subspan(first, end - first));
  }

  // Counts each cluster that the tables refer to, those of tables and the header included.
  std::map<std::uint64_t, int> references() {
    std::map<std::uint64_t, int> found;
    ++found[0];
    add(found, layout_.refcount_table());
    for (std::uint64_t i = 0; i < layout_.refcount_table().count * cluster_bytes(1) / 8; ++i) {
      if (std::uint64_t offset = entry(layout_.refcount_table(), i); offset != 0) ++found[cluster(offset)];
    }
    add(found, layout_.l1_table());
    for (std::uint64_t i = 0; i < layout_.l1_entries(); ++i) {
      const std::uint64_t entry_of_l1 = entry(layout_.l1_table(), i);
      if (entry_of_l1 == 0) continue;
      EXPECT_NE(entry_of_l1 & kEntryCopied, 0);
      ++found[cluster(entry_of_l1 & kEntryOffsetMask)];
      add_l2(found, entry_of_l1 & kEntryOffsetMask);
    }
    return found;
  }

  std::uint64_t refcount(std::uint64_t of_cluster) {
    const Geometry& geometry = layout_.geometry();
    const std::uint64_t block = entry(layout_.refcount_table(), of_cluster >> geometry.refcount_block_bits());
    if (block == 0) return 0;
    return refcount_at(std::span(bytes_).subspan(block, cluster_bytes(1)), geometry.refcount_order,
                       of_cluster & (geometry.refcount_block_entries() - 1));
  }

 private:
  std::uint64_t cluster_bytes(std::uint64_t count) const { return count << layout_.geometry().cluster_bits; }
  std::uint64_t cluster(std::uint64_t offset) const { return offset >> layout_.geometry().cluster_bits; }
  std::uint64_t entry(const ClusterRange& table, std::uint64_t index) {
    return entry_at(std::span(bytes_).subspan(cluster_bytes(table.first)), index);
  }
  static void add(std::map<std::uint64_t, int>& found, const ClusterRange& clusters) {
    for (std::uint64_t i = clusters.first; i < clusters.end(); ++i) ++found[i];
  }
  void add_l2(std::map<std::uint64_t, int>& found, std::uint64_t offset) {
    const Geometry& geometry = layout_.geometry();
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      const std::uint64_t words = geometry.l2_entry_bytes() / 8;
      const std::uint64_t descriptor = entry_at(std::span(bytes_).subspan(offset), i * words);
      if (descriptor != 0 && !geometry.data_file) ++found[cluster(descriptor & kEntryOffsetMask)];
    }
  }

  const ImageLayout& layout_;
  std::vector<std::byte> bytes_;
};

Creation random_creation(std::mt19937_64& random) {
  Creation creation;
  creation.cluster_bytes = std::uint64_t{512} << (random() % 8);
  creation.refcount_bits = std::uint64_t{1} << (random() % 7);
  creation.size_bytes = random() % ((random() % 2 == 0 ? 64 : 3000) * creation.cluster_bytes) / 512 * 512;
  creation.extended_l2 = creation.cluster_bytes >= 16384 && random() % 2 == 0;
  creation.has_data_file = random() % 4 == 0;
  creation.data_file_raw = creation.has_data_file && random() % 2 == 0;
  creation.preallocation = random() % 3 == 0 ? Preallocation::kOff : Preallocation::kMetadata;
  return creation;
}

TEST(ImageLayoutTest, EachClusterHasTheRefcountOfItsReferences) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 400; ++i) {
    const Creation creation = random_creation(random);
    ASSERT_TRUE(check_creation(creation)) << i;
    const Result<ImageLayout> layout = ImageLayout::of(creation);
    ASSERT_TRUE(layout) << i;
    Tables tables(*layout);
    std::map<std::uint64_t, int> references = tables.references();
    EXPECT_EQ(references.size(), layout->data().end()) << i;
    const std::uint64_t beyond = layout->refcount_blocks().count * layout->geometry().refcount_block_entries();
    for (std::uint64_t cluster = 0; cluster < beyond; ++cluster) {
      const auto found = references.find(cluster);
      ASSERT_EQ(tables.refcount(cluster), found == references.end() ? 0 : found->second) << i << " " << cluster;
    }
  }
}

TEST(ImageLayoutTest, TheFirstImageOfEveryoneIsLaidOutAsUsual) {
  const Result<ImageLayout> layout = ImageLayout::of({.size_bytes = std::uint64_t{1} << 30});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->refcount_table().first, 1);
  EXPECT_EQ(layout->refcount_blocks().first, 2);
  EXPECT_EQ(layout->l1_table().first, 3);
  EXPECT_EQ(layout->tables_end(), 196624);
}

TEST(ImageLayoutTest, AnImageWithoutBytesHasNoL1Table) {
  const Result<ImageLayout> layout = ImageLayout::of({.size_bytes = 0});
  ASSERT_TRUE(layout);
  Header header;
  layout->describe_in(header);
  EXPECT_EQ(header.l1_entries, 0);
  EXPECT_EQ(header.l1_offset, 0);
  EXPECT_EQ(layout->tables_end(), 196608);
}

TEST(ImageLayoutTest, ARefcountTablePastItsLimitIsRefused) {
  Creation creation{.size_bytes = std::uint64_t{1} << 52, .cluster_bytes = 2u << 20};
  creation.preallocation = Preallocation::kMetadata;
  EXPECT_TRUE(ImageLayout::of(creation));
  creation.size_bytes = std::uint64_t{1} << 60;
  const Result<ImageLayout> refused = ImageLayout::of(creation);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "Could not resize image: Allocating clusters failed: File too large");
}

TEST(ImageLayoutTest, OnlyARawDataFileHasAllocatedSubclusters) {
  for (bool raw : {false, true}) {
    Creation creation{.size_bytes = 1u << 20, .extended_l2 = true, .preallocation = Preallocation::kMetadata};
    creation.has_data_file = true;
    creation.data_file_raw = raw;
    const Result<ImageLayout> layout = ImageLayout::of(creation);
    ASSERT_TRUE(layout);
    std::vector<std::byte> table(65536);
    layout->fill(layout->l2_tables().first * 65536, table);
    EXPECT_EQ(entry_at(table, 0), kEntryCopied);
    EXPECT_EQ(entry_at(table, 1), raw ? 0xffff'ffff : 0);
    EXPECT_EQ(entry_at(table, 2), 65536 | kEntryCopied);
    EXPECT_EQ(entry_at(table, 32), 0);
  }
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
