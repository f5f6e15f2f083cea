#include "drivers/qcow2/refcounts/refcounts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Obstacle = Refcounts::Obstacle;

// Small clusters, so that few clusters need several blocks: a block describes 256 clusters, a table cluster 64 blocks.
constexpr Geometry kSmall{.cluster_bits = 9};

// An image of metadata only: what a commit writes, and what a later start reads.
class Image {
 public:
  explicit Image(const Geometry& geometry) : geometry_(geometry) {
    metadata.add_fixed(0, 3);
    metadata.settle();
    // The header, the table and the first block.
    block(2 * geometry_.cluster_bytes());
    for (std::uint64_t cluster = 0; cluster < 3; ++cluster) {
      set_refcount_at(blocks[2 * geometry_.cluster_bytes()], geometry_.refcount_order, cluster, 1);
    }
    table.resize(geometry_.cluster_bytes() / 8);
    table[0] = 2 * geometry_.cluster_bytes();
  }

  std::vector<std::byte>& block(std::uint64_t offset) {
    std::vector<std::byte>& bytes = blocks[offset];
    bytes.resize(geometry_.cluster_bytes());
    return bytes;
  }

  void commit(Refcounts& refcounts) {
    const Refcounts::Writes writes = refcounts.begin_write();
    for (const Refcounts::Write& write : writes.new_blocks) put(write);
    for (const Refcounts::Write& write : writes.blocks) put(write);
    if (writes.table_moved) {
      table_offset = writes.moved_table.at(0).host_offset;
      table.clear();
      const std::vector<std::byte>& bytes = writes.moved_table.at(0).bytes;
      for (std::size_t i = 0; i < bytes.size(); i += 8) table.push_back(word(bytes, i));
    }
    for (const Refcounts::Write& write : writes.table_entries) {
      table.at((write.host_offset - table_offset) / 8) = word(write.bytes, 0);
    }
    refcounts.end_write();
  }

  std::uint64_t refcount(std::uint64_t cluster) const {
    const std::uint64_t bits = geometry_.refcount_block_bits();
    const std::uint64_t number = cluster >> bits;
    if (number >= table.size() || table[number] == 0) return 0;
    return refcount_at(blocks.at(table[number]), geometry_.refcount_order, cluster & ((std::uint64_t{1} << bits) - 1));
  }

  MetadataClusters metadata;
  std::vector<std::uint64_t> table;
  std::uint64_t table_offset = 512;
  std::map<std::uint64_t, std::vector<std::byte>> blocks;

 private:
  static std::uint64_t word(const std::vector<std::byte>& bytes, std::size_t at) {
    return refcount_at(bytes, 6, at / 8);
  }
  void put(const Refcounts::Write& write) {
    const std::uint64_t start = geometry_.round_down(write.host_offset);
    std::vector<std::byte>& bytes = block(start);
    std::ranges::copy(write.bytes, bytes.begin() + static_cast<std::ptrdiff_t>(write.host_offset - start));
  }

  Geometry geometry_;
};

// Does what an Allocator does: loads blocks and grows the table until the call succeeds.
template <class Call>
auto with_loads(Image& image, Refcounts& refcounts, std::vector<HostClusters>& old_tables, Call call) {
  while (true) {
    auto answer = call();
    if (answer) return *answer;
    if (answer.error().obstacle == Obstacle::kBlockNotLoaded) {
      refcounts.insert_block(answer.error().block, image.block(refcounts.block_offset(answer.error().block)), 2,
                             refcounts.evictions());
    } else if (answer.error().obstacle == Obstacle::kTableFull) {
      const auto grown = refcounts.grow_table();
      if (!grown) std::abort();
      old_tables.push_back(*grown);
    } else {
      std::abort();
    }
  }
}

TEST(RefcountsTest, NeedsABlockBeforeItAllocates) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  const auto answer = refcounts.allocate(4);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().obstacle, Obstacle::kBlockNotLoaded);
  EXPECT_EQ(answer.error().block, 0u);
  EXPECT_FALSE(refcounts.is_dirty());
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  EXPECT_EQ(refcounts.allocate(4), (HostClusters{3, 4}));
  EXPECT_EQ(refcounts.allocate(1), (HostClusters{7, 1}));
  EXPECT_TRUE(refcounts.is_dirty());
  image.commit(refcounts);
  EXPECT_FALSE(refcounts.is_dirty());
  for (std::uint64_t cluster = 0; cluster < 8; ++cluster) EXPECT_EQ(image.refcount(cluster), 1u);
  EXPECT_EQ(image.refcount(8), 0u);
}

TEST(RefcountsTest, TakesNoBlockThatWasReadBeforeAnEviction) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  const std::uint64_t before = refcounts.evictions();
  refcounts.insert_block(0, image.block(1024), 1, before);
  refcounts.insert_block(1, image.block(2048), 1, before);
  EXPECT_FALSE(refcounts.holds_block(0));
  refcounts.insert_block(0, image.block(1024), 1, before);
  EXPECT_FALSE(refcounts.holds_block(0));
  refcounts.insert_block(0, image.block(1024), 1, refcounts.evictions());
  EXPECT_TRUE(refcounts.holds_block(0));
}

TEST(RefcountsTest, ReusesAFreedClusterAndLeavesASharedOne) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  ASSERT_TRUE(refcounts.allocate(10));
  EXPECT_EQ(refcounts.increase(5), 2u);
  EXPECT_EQ(refcounts.decrease(5), 1u);
  EXPECT_EQ(refcounts.decrease(6), 0u);
  EXPECT_EQ(refcounts.decrease(6).error().obstacle, Obstacle::kCorrupt);
  EXPECT_EQ(refcounts.increase(6).error().obstacle, Obstacle::kCorrupt);
  EXPECT_EQ(refcounts.allocate(5), (HostClusters{6, 1}));
  EXPECT_EQ(refcounts.allocate(5), (HostClusters{13, 5}));
}

TEST(RefcountsTest, ReadsNoFullBlockAgainForAFreedCluster) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  std::vector<HostClusters> old_tables;
  const auto allocate = [&] {
    return with_loads(image, refcounts, old_tables, [&] { return refcounts.allocate(1); }).first;
  };
  // Five full blocks, and the begin of the sixth.
  while (allocate() < 5 * 256 + 10) {
  }
  image.commit(refcounts);
  const std::uint64_t evictions = refcounts.evictions();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(with_loads(image, refcounts, old_tables, [&] { return refcounts.decrease(7); }) == 0);
    EXPECT_EQ(allocate(), 7u);
    EXPECT_EQ(allocate(), 5u * 256 + 11 + static_cast<unsigned>(i));
    image.commit(refcounts);
  }
  // The blocks between the first one and the sixth were not read: at most two blocks are kept.
  EXPECT_LE(refcounts.evictions() - evictions, 2u * 20);
}

TEST(RefcountsTest, CountsSeveralClustersOfOneBlock) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  ASSERT_TRUE(refcounts.allocate(10));
  using Step = Refcounts::Step;
  const std::vector<std::uint64_t> clusters = {3, 4, 4, 300, 5};
  EXPECT_EQ(refcounts.count(clusters, Step::kIncrease), 3u);
  EXPECT_EQ(refcounts.refcount(3), 2u);
  EXPECT_EQ(refcounts.refcount(4), 3u);
  // Cluster 200 has no reference: those before it are counted, and then it is the first.
  const std::vector<std::uint64_t> wrong = {3, 200, 4};
  EXPECT_EQ(refcounts.count(wrong, Step::kDecrease), 1u);
  EXPECT_EQ(refcounts.count(std::span(wrong).subspan(1), Step::kDecrease).error().obstacle, Obstacle::kCorrupt);
  EXPECT_EQ(refcounts.count(std::span(clusters).subspan(3), Step::kIncrease).error().obstacle, Obstacle::kCorrupt);
}

TEST(RefcountsTest, CountsNoFurtherThanTheBitsOfARefcount) {
  const Geometry one_bit{.cluster_bits = 9, .refcount_order = 0};
  Image image(one_bit);
  Refcounts refcounts(one_bit, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  ASSERT_TRUE(refcounts.allocate(1));
  EXPECT_EQ(refcounts.increase(3).error().obstacle, Obstacle::kOverflow);
}

TEST(RefcountsTest, NeverHandsOutMetadataThatHasNoRefcount) {
  Image image(kSmall);
  image.metadata.add(4);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  EXPECT_EQ(refcounts.allocate(4).error().obstacle, Obstacle::kCorrupt);
  EXPECT_FALSE(refcounts.is_dirty());
}

TEST(RefcountsTest, KeepsAChangeThatComesWhileItWrites) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  ASSERT_TRUE(refcounts.allocate(1));
  (void)refcounts.begin_write();
  ASSERT_TRUE(refcounts.allocate(1));
  refcounts.end_write();
  EXPECT_TRUE(refcounts.is_dirty());
  image.commit(refcounts);
  EXPECT_EQ(image.refcount(4), 1u);
  EXPECT_FALSE(refcounts.is_dirty());
}

TEST(RefcountsTest, ANewBlockStaysNewUntilTheTableInTheImageRefersToIt) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  ASSERT_TRUE(refcounts.allocate(253));
  ASSERT_EQ(refcounts.allocate(1), (HostClusters{257, 1}));
  EXPECT_EQ(refcounts.begin_write().new_blocks.size(), 1u);
  // The write failed: all comes again.
  const Refcounts::Writes again = refcounts.begin_write();
  EXPECT_EQ(again.new_blocks.size(), 1u);
  EXPECT_EQ(again.new_blocks[0].host_offset, 256u * 512);
  EXPECT_EQ(again.new_blocks[0].bytes.size(), 512u);
  EXPECT_EQ(again.table_entries.size(), 1u);
  refcounts.end_write();
  ASSERT_TRUE(refcounts.allocate(1));
  EXPECT_TRUE(refcounts.begin_write().new_blocks.empty());
}

// Random allocations and frees, with commits in between, against a model; the table grows several times.
TEST(RefcountsTest, AgreesWithAModelWhileItsTableGrows) {
  for (unsigned order = 1; order <= 6; ++order) {
    const Geometry geometry{.cluster_bits = 9, .refcount_order = order};
    Image image(geometry);
    Refcounts refcounts(geometry, image.table, 512, image.metadata);
    std::vector<HostClusters> old_tables;
    std::map<std::uint64_t, bool> taken;
    std::mt19937_64 random(order);
    const std::uint64_t goal = image.table.size() * geometry.refcount_block_entries() * 5 / 2;
    std::uint64_t highest = 0;
    while (highest < goal) {
      const std::uint64_t wanted = 1 + random() % 300;
      const bool exactly = random() % 8 == 0;
      const HostClusters got = with_loads(image, refcounts, old_tables, [&] {
        return exactly ? refcounts.allocate_exactly(wanted) : refcounts.allocate(wanted);
      });
      ASSERT_GE(got.count, 1u);
      ASSERT_LE(got.count, wanted);
      if (exactly) ASSERT_EQ(got.count, wanted);
      for (std::uint64_t i = 0; i < got.count; ++i) ASSERT_TRUE(taken.emplace(got.first + i, true).second);
      highest = std::max(highest, got.first + got.count);
      if (random() % 4 == 0) {
        const std::uint64_t victim =
            std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()))->first;
        ASSERT_EQ(with_loads(image, refcounts, old_tables, [&] { return refcounts.decrease(victim); }), 0u);
        taken.erase(victim);
      }
      if (random() % 5 == 0) image.commit(refcounts);
    }
    image.commit(refcounts);
    EXPECT_GE(old_tables.size(), 1u);
    EXPECT_EQ(image.table_offset, refcounts.table_offset());
    // A refcount for everything that is in use, and for nothing else.
    std::map<std::uint64_t, bool> used = taken;
    for (std::uint64_t cluster = 0; cluster < 3; ++cluster) used[cluster] = true;
    for (const std::uint64_t offset : image.table) {
      if (offset != 0) used[offset >> 9] = true;
    }
    for (std::uint64_t i = 0; i < image.table.size() * 8 / 512; ++i) used[(image.table_offset >> 9) + i] = true;
    for (const HostClusters& old : old_tables) {
      for (std::uint64_t i = 0; i < old.count; ++i) used[old.first + i] = true;
    }
    for (std::uint64_t cluster = 0; cluster < highest + 1000; ++cluster) {
      ASSERT_EQ(image.refcount(cluster), used.contains(cluster) ? 1u : 0u)
          << "order " << order << " cluster " << cluster;
    }
  }
}

TEST(RefcountsTest, AllocatesARunThatIsLongerThanABlockDescribes) {
  Image image(kSmall);
  Refcounts refcounts(kSmall, image.table, 512, image.metadata);
  std::vector<HostClusters> old_tables;
  const HostClusters run = with_loads(image, refcounts, old_tables, [&] { return refcounts.allocate_exactly(1000); });
  EXPECT_EQ(run, (HostClusters{256, 1000}));
  image.commit(refcounts);
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(image.refcount(256 + i), 1u);
  // Four blocks behind the run, described by the last of them.
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(image.refcount(1256 + i), 1u);
  EXPECT_EQ(image.refcount(1260), 0u);
}

class SharedBytesTest : public testing::Test {
 protected:
  SharedBytesTest() {
    refcounts_.insert_block(0, image_.block(1024), 4, refcounts_.evictions());
    EXPECT_TRUE(refcounts_.allocate(1));  // cluster 3
  }
  std::uint64_t take(std::uint64_t bytes) {
    const auto taken = refcounts_.allocate_bytes(bytes);
    EXPECT_TRUE(taken);
    return taken ? taken->offset : 0;
  }
  std::uint64_t count(std::uint64_t cluster) { return refcounts_.refcount(cluster).value_or(UINT64_MAX); }

  Image image_{kSmall};
  Refcounts refcounts_{kSmall, image_.table, 512, image_.metadata};
};

TEST_F(SharedBytesTest, FollowEachOtherAndCountTheirCluster) {
  EXPECT_EQ(take(100), 4 * 512u);
  EXPECT_EQ(take(200), 4 * 512u + 100);
  EXPECT_EQ(count(4), 2u);
  // Into the next cluster too, since that is free.
  EXPECT_EQ(take(300), 4 * 512u + 300);
  EXPECT_EQ(count(4), 3u);
  EXPECT_EQ(count(5), 1u);
  EXPECT_EQ(take(424), 5 * 512u + 88);
  EXPECT_EQ(count(5), 2u);
  // Cluster 5 is full to the last byte.
  EXPECT_EQ(take(10), 6 * 512u);
  EXPECT_EQ(count(5), 2u);
}

TEST_F(SharedBytesTest, BeginElsewhereWhenTheNextClusterIsInUse) {
  EXPECT_EQ(take(300), 4 * 512u);
  EXPECT_TRUE(refcounts_.allocate(1));
  EXPECT_EQ(take(300), 6 * 512u);
  EXPECT_EQ(count(4), 1u);
  EXPECT_EQ(count(6), 1u);
}

TEST_F(SharedBytesTest, NeverTakeAClusterThatWasFreed) {
  EXPECT_EQ(take(100), 4 * 512u);
  EXPECT_EQ(refcounts_.decrease(4), 0u);
  EXPECT_EQ(refcounts_.allocate(1), (HostClusters{4, 1}));
  EXPECT_EQ(take(100), 5 * 512u);
  EXPECT_EQ(count(4), 1u);
}

TEST_F(SharedBytesTest, LeaveAClusterThatWasClosed) {
  EXPECT_EQ(take(100), 4 * 512u);
  refcounts_.close_shared({5, 7});
  EXPECT_EQ(take(100), 4 * 512u + 100);
  refcounts_.close_shared({2, 3});
  EXPECT_EQ(take(100), 5 * 512u);
}

TEST(SharedBytesOfOneBitTest, HaveClustersOfTheirOwn) {
  constexpr Geometry kOneBit{.cluster_bits = 9, .refcount_order = 0};
  Image image(kOneBit);
  Refcounts refcounts(kOneBit, image.table, 512, image.metadata);
  refcounts.insert_block(0, image.block(1024), 4, refcounts.evictions());
  EXPECT_EQ(refcounts.allocate_bytes(10)->offset, 3 * 512u);
  EXPECT_EQ(refcounts.allocate_bytes(10)->offset, 4 * 512u);
  EXPECT_EQ(refcounts.refcount(3), 1u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
