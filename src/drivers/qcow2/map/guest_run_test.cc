#include "drivers/qcow2/map/guest_run.h"

#include <cstring>

#include "block/edge.h"
#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Range;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kCluster = 64 * kKiB;
constexpr std::uint64_t kTable = 2 * kCluster;  // host offset of the L2 table of the first GiB or so
constexpr std::uint64_t kData = 8 * kCluster;

class RunTest : public block::ReactorTest {
 protected:
  RunTest()
      : state_(64 * kCluster), node_("file", std::make_unique<block::MemoryDriver>(state_)), edge_(node_, {}, {}) {}

  // Writes the words of L2 entries into the file.
  void put(std::uint64_t word, std::uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) {
      state_.bytes[kTable + word * 8 + i] = static_cast<std::byte>(value >> (56 - 8 * i));
    }
  }
  ImageTables make_tables(Geometry geometry = {}) {
    const std::uint64_t l1[] = {kTable | kEntryCopied, 0, kTable + 512};
    return ImageTables(geometry, l1, {}, edge_);
  }
  std::expected<GuestRun, Errno> look_up(ImageTables& tables, Range range, RunPurpose purpose = RunPurpose::kRead) {
    return run(find_run(tables, range, purpose));
  }

  block::MemoryDriverState state_;
  block::Node node_;
  block::Edge edge_;
};

TEST_F(RunTest, JoinsClustersThatFollowEachOtherInTheFile) {
  put(0, encode_data(kData, true));
  put(1, encode_data(kData + kCluster, true));
  put(2, encode_data(kData + 3 * kCluster, true));
  ImageTables tables = make_tables();
  EXPECT_EQ(try_run(tables, {0, 1}, RunPurpose::kRead).error(), Errno(EAGAIN));
  EXPECT_EQ(
      look_up(tables, {100, 4 * kCluster}),
      (GuestRun{
          .kind = ClusterKind::kData, .length = 2 * kCluster - 100, .host_offset = kData + 100, .overwritable = true}));
  EXPECT_EQ(try_run(tables, {0, 512}, RunPurpose::kRead)->length, 512u);
  EXPECT_EQ(look_up(tables, {2 * kCluster, 8 * kCluster})->host_offset, kData + 3 * kCluster);
}

TEST_F(RunTest, EndsARunForAWriteWhereOverwritingEnds) {
  put(0, encode_data(kData, true));
  put(1, encode_data(kData + kCluster, false));
  ImageTables tables = make_tables();
  EXPECT_EQ(look_up(tables, {0, 2 * kCluster}, RunPurpose::kRead)->length, 2 * kCluster);
  EXPECT_EQ(look_up(tables, {0, 2 * kCluster}, RunPurpose::kWrite)->length, kCluster);
  EXPECT_FALSE(look_up(tables, {kCluster, kCluster}, RunPurpose::kWrite)->overwritable);
}

TEST_F(RunTest, NeedsNoTableForARangeWithoutOne) {
  ImageTables tables = make_tables();
  const std::uint64_t share = 8192 * kCluster;
  EXPECT_EQ(try_run(tables, {share + 5, 2 * share}, RunPurpose::kRead), (GuestRun{.length = share - 5}));
  EXPECT_EQ(try_run(tables, {3 * share, 10 * kKiB}, RunPurpose::kRead), (GuestRun{.length = 10 * kKiB}));
  EXPECT_TRUE(state_.calls.empty());
}

TEST_F(RunTest, TellsZerosAndCompressedClusters) {
  put(0, kEntryZero);
  put(1, encode_data(kData, true) | kEntryZero);
  put(2, *encode_compressed({}, kData + 700, 1000));
  put(3, *encode_compressed({}, kData + 1700, 1000));
  ImageTables tables = make_tables();
  EXPECT_EQ(look_up(tables, {0, 4 * kCluster}), (GuestRun{.kind = ClusterKind::kZero, .length = 2 * kCluster}));
  const GuestRun compressed = *look_up(tables, {2 * kCluster + 10, 2 * kCluster});
  EXPECT_EQ(compressed.kind, ClusterKind::kCompressed);
  EXPECT_EQ(compressed.length, kCluster - 10);
  EXPECT_EQ(compressed.host_offset, kData + 700);
  EXPECT_EQ(compressed.compressed_bytes, 1536u - 700 % 512);
}

TEST_F(RunTest, FollowsSubclusters) {
  const Geometry geometry{.extended_l2 = true};
  const std::uint64_t subcluster = 2 * kKiB;
  put(0, encode_data(kData, true));
  put(1, allocated_bits(0, 3) | zero_bits(3, 29));
  put(2, 0);
  put(3, zero_bits(0, 1));
  put(4, encode_data(kData + 4 * kCluster, true));
  put(5, allocated_bits(30, 2));
  put(6, encode_data(kData + 5 * kCluster, true));
  put(7, allocated_bits(0, 32));
  ImageTables tables = make_tables(geometry);
  EXPECT_EQ(look_up(tables, {100, kCluster})->length, 3 * subcluster - 100);
  EXPECT_EQ(look_up(tables, {3 * subcluster, 2 * kCluster}),
            (GuestRun{.kind = ClusterKind::kZero, .length = 30 * subcluster}));
  EXPECT_EQ(look_up(tables, {kCluster + subcluster, kCluster})->length, kCluster);
  EXPECT_EQ(look_up(tables, {2 * kCluster + 30 * subcluster, 2 * kCluster}),
            (GuestRun{.kind = ClusterKind::kData,
                      .length = 34 * subcluster,
                      .host_offset = kData + 4 * kCluster + 30 * subcluster,
                      .overwritable = true}));
}

TEST_F(RunTest, ReportsAWrongEntryOnlyForItsOwnBytes) {
  put(0, encode_data(kData, true));
  put(1, kData + 512);
  ImageTables tables = make_tables();
  EXPECT_EQ(look_up(tables, {0, 2 * kCluster})->length, kCluster);
  EXPECT_EQ(look_up(tables, {kCluster, kCluster}).error(), Errno(EIO));
}

TEST_F(RunTest, RefusesATableThatDoesNotBeginAtACluster) {
  ImageTables tables = make_tables();
  EXPECT_EQ(look_up(tables, {2 * 8192 * kCluster, 1}).error(), Errno(EIO));
}

TEST_F(RunTest, LimitsTheEntriesThatOneLookupExamines) {
  for (std::uint64_t i = 0; i < 8192; ++i) put(i, kEntryZero);
  ImageTables tables = make_tables();
  for (std::uint64_t i = 0; i < 8192; i += 512) ASSERT_TRUE(look_up(tables, {i * kCluster, 1}));
  EXPECT_EQ(look_up(tables, {0, 8192 * kCluster})->length, kRunEntriesMax * kCluster);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
