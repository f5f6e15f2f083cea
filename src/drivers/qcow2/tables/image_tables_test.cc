#include "drivers/qcow2/tables/image_tables.h"

#include "block/edge.h"
#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 64 * 1024;

class ImageTablesTest : public block::ReactorTest {
 protected:
  ImageTablesTest()
      : state_(4 * kCluster), node_("file", std::make_unique<block::MemoryDriver>(state_)), edge_(node_, {}, {}) {}

  // Counts the lookup in `ended` when it has the result that is expected.
  static aio::Task<void> look_up(ImageTables& tables, std::uint64_t cluster, IoResult expected, int& ended) {
    const std::expected<L2Entry, Errno> entry = co_await tables.entry(cluster);
    if (entry) EXPECT_EQ(*entry, L2Entry{});
    if (!entry) EXPECT_EQ(entry.error(), expected.error());
    if (entry.has_value() == expected.has_value()) ++ended;
  }

  block::MemoryDriverState state_;
  block::Node node_;
  block::Edge edge_;
};

TEST_F(ImageTablesTest, ReadsASliceOnceForAllWhoNeedIt) {
  aio::Event pause(reactor());
  state_.read_pause = &pause;
  const std::uint64_t l1[] = {2 * kCluster};
  ImageTables tables({}, l1, {.slice_bytes = 4096}, edge_);
  int ended = 0;
  for (std::uint64_t cluster : {0, 1, 511}) start(look_up(tables, cluster, {}, ended));
  EXPECT_EQ(state_.calls.size(), 1u);
  start(look_up(tables, 512, {}, ended));
  EXPECT_EQ(state_.calls.size(), 2u);
  EXPECT_EQ(ended, 0);
  pause.set();
  until_idle();
  EXPECT_EQ(ended, 4);
  EXPECT_EQ(run(tables.entry(7)), L2Entry{});
  EXPECT_EQ(state_.calls.size(), 2u);
}

TEST_F(ImageTablesTest, TellsEveryWaiterOfAFailedReadAndTriesAgainLater) {
  aio::Event pause(reactor());
  state_.read_pause = &pause;
  state_.error = EIO;
  const std::uint64_t l1[] = {2 * kCluster};
  ImageTables tables({}, l1, {}, edge_);
  int failed = 0;
  start(look_up(tables, 0, fail(EIO), failed));
  start(look_up(tables, 1, fail(EIO), failed));
  pause.set();
  until_idle();
  EXPECT_EQ(failed, 2);
  state_.error = 0;
  EXPECT_EQ(run(tables.entry(0)), L2Entry{});
}

TEST_F(ImageTablesTest, TakesAPartOfATablePastTheEndOfTheFileForZeros) {
  const std::uint64_t l1[] = {3 * kCluster, 40 * kCluster};
  state_.bytes.resize(3 * kCluster + 100);
  for (std::byte& byte : state_.bytes) byte = std::byte{0};
  state_.bytes[3 * kCluster + 97] = std::byte{5};
  ImageTables tables({}, l1, {}, edge_);
  EXPECT_EQ(run(tables.entry(12))->descriptor, std::uint64_t{5} << 48);
  EXPECT_EQ(run(tables.entry(13)), L2Entry{});
  EXPECT_EQ(run(tables.entry(8192)), L2Entry{});
}

TEST_F(ImageTablesTest, ListsTheL1EntriesThatChanged) {
  const std::uint64_t l1[] = {0, 0, 0};
  ImageTables tables({}, l1, {}, edge_);
  EXPECT_FALSE(tables.is_dirty());
  tables.set_l1_entry(2, kCluster);
  tables.set_l1_entry(0, 2 * kCluster);
  tables.set_l1_entry(2, 3 * kCluster);
  EXPECT_TRUE(tables.is_dirty());
  EXPECT_EQ(tables.begin_l1_write(), (std::vector<std::uint64_t>{0, 2}));
  EXPECT_EQ(tables.begin_l1_write(), (std::vector<std::uint64_t>{0, 2})) << "the first write may have failed";
  tables.set_l1_entry(1, kCluster);
  tables.end_l1_write();
  EXPECT_EQ(tables.begin_l1_write(), (std::vector<std::uint64_t>{1}));
  tables.end_l1_write();
  EXPECT_FALSE(tables.is_dirty());
  EXPECT_EQ(tables.l1_entry(2), 3 * kCluster);
  EXPECT_EQ(tables.l1_entry(3), 0u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
