// The consistency check and its repair, on images in memory with one damage each. tests/client/image_check_test.py
// compares the results with those of qemu-img.
#include "drivers/qcow2/check/check.h"

#include <algorithm>
#include <map>
#include <random>

#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"
#include "drivers/qcow2/check/check_state.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/testing/memory_image.h"
#include "drivers/qcow2/testing/recording_file.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 512;
constexpr std::uint64_t kDiskBytes = 64 * kCluster;
// Numbers of the clusters of small_image().
constexpr std::uint64_t kRefcountTable = 1;
constexpr std::uint64_t kRefcountBlock = 2;
constexpr std::uint64_t kL1 = 3;
constexpr std::uint64_t kL2 = 4;
constexpr std::uint64_t kData = 5;        // to kData + 3, for the first four guest clusters
constexpr std::uint64_t kCompressed = 9;  // two guest clusters
constexpr std::uint64_t kPreallocated = 10;
constexpr std::uint64_t kSnapshotTable = 11;
constexpr std::uint64_t kSnapshotL1 = 12;
constexpr std::uint64_t kSnapshotL2 = 13;
constexpr std::uint64_t kClusters = 14;
// Indexes of guest clusters in the L2 table.
constexpr std::size_t kCompressedGuest = 8;
constexpr std::size_t kPreallocatedGuest = 12;

// An image, and access to its tables.
struct Image {
  std::vector<std::byte> bytes;

  std::span<std::byte> cluster(std::uint64_t number) {
    return std::span(bytes).subspan(static_cast<std::size_t>(number * kCluster), kCluster);
  }
  void set(std::uint64_t number, std::size_t index, std::uint64_t word) {
    set_table_word(cluster(number), index, word);
  }
  std::uint64_t get(std::uint64_t number, std::size_t index) { return table_word(cluster(number), index); }
  void set_refcount(std::uint64_t of, std::uint64_t count) { set_refcount_at(cluster(kRefcountBlock), 4, of, count); }
  void set_field(std::size_t offset, std::uint64_t word) {
    set_table_word(std::span(bytes).subspan(offset, 8), 0, word);
  }
};

constexpr std::uint64_t data(std::uint64_t cluster) {
  return cluster * kCluster | kEntryCopied;
}

// Four clusters of data, of which a snapshot shares the first; two compressed ones in one host cluster, and one that is
// reserved for zeroes.
Image small_image() {
  Image image{make_image({.cluster_bits = 9}, kDiskBytes)};
  image.bytes.resize(kClusters * kCluster);
  image.set(kL1, 0, data(kL2));
  for (std::uint64_t i = 0; i < 4; ++i) {
    image.set(kL2, i, data(kData + i));
    image.cluster(kData + i)[0] = static_cast<std::byte>(i + 1);
  }
  image.set(kL2, 0, kData * kCluster);
  for (std::uint64_t i = 0; i < 2; ++i) {
    image.set(kL2, kCompressedGuest + i,
              encode_compressed({.cluster_bits = 9}, kCompressed * kCluster + 100 * i, 90).value_or(0));
  }
  image.set(kL2, kPreallocatedGuest, data(kPreallocated) | kEntryZero);
  image.set(kSnapshotL1, 0, kSnapshotL2 * kCluster | kEntryCopied);
  image.set(kSnapshotL2, 0, kData * kCluster);
  const Snapshot snapshot{.l1_offset = kSnapshotL1 * kCluster, .l1_entries = 1, .id = "1", .name = "first"};
  std::ranges::copy(encode_snapshot_table({&snapshot, 1}), image.cluster(kSnapshotTable).begin());
  for (std::uint64_t i = 0; i < kClusters; ++i) image.set_refcount(i, i == kData || i == kCompressed ? 2 : 1);
  image.set_field(60, std::uint64_t{1} << 32);  // number of snapshots
  image.set_field(64, kSnapshotTable * kCluster);
  return image;
}

struct Damage {
  const char* name;
  void (*apply)(Image&);
  std::uint64_t corruptions;
  std::uint64_t leaks;
  std::uint64_t check_errors = 0;
  // The damage that is left after a repair of all.
  std::uint64_t corruptions_left = 0;
  std::uint64_t leaks_left = 0;
};

const Damage kDamages[] = {
    {"nothing", [](Image&) {}, 0, 0},
    {"refcount too high", [](Image& image) { image.set_refcount(kData + 1, 7); }, 1, 1},
    {"refcount of a free cluster", [](Image& image) { image.set_refcount(kData + 1, 1), image.set(kL2, 1, 0); }, 0, 1},
    {"refcount too low", [](Image& image) { image.set_refcount(kData, 1); }, 2, 0},
    {"refcount 0", [](Image& image) { image.set_refcount(kData + 2, 0); }, 2, 0},
    {"COPIED missing", [](Image& image) { image.set(kL2, 1, (kData + 1) * kCluster); }, 1, 0},
    {"COPIED of a shared cluster", [](Image& image) { image.set(kL2, 0, data(kData)); }, 1, 0},
    {"COPIED missing in L1", [](Image& image) { image.set(kL1, 0, kL2 * kCluster); }, 1, 0},
    {"COPIED of a compressed cluster",
     [](Image& image) { image.set(kL2, kCompressedGuest, image.get(kL2, kCompressedGuest) | kEntryCopied); }, 1, 0, 0,
     1},
    {"two entries for one cluster", [](Image& image) { image.set(kL2, 5, data(kData + 1)); }, 1, 0},
    {"data in the header", [](Image& image) { image.set(kL2, 5, 0x100 | kEntryCopied); }, 1, 0, 0, 1},
    {"data in the L1 table", [](Image& image) { image.set(kL2, 5, data(kL1)); }, 1, 0},
    {"L2 table that maps itself", [](Image& image) { image.set(kL2, 5, data(kL2)); }, 1, 0, 0, 1},
    {"data outside the file", [](Image& image) { image.set(kL2, 5, data(1000)); }, 2, 0, 0, 1},
    {"data at the end of all offsets", [](Image& image) { image.set(kL2, 5, kEntryOffsetMask | kEntryCopied); }, 2, 0,
     0, 1},
    {"reserved bits of an L2 entry", [](Image& image) { image.set(kL2, 1, data(kData + 1) | 1u << 5); }, 1, 0, 0, 1},
    {"reserved bits of an L1 entry", [](Image& image) { image.set(kL1, 0, data(kL2) | 1); }, 1, 0, 0, 1},
    {"compressed data outside the file",
     [](Image& image) { image.set(kL2, kCompressedGuest, kEntryCompressed | 1'000'000); }, 1, 1, 0, 1},
    {"L2 table outside the file", [](Image& image) { image.set(kL1, 0, data(1000)); }, 2, 7, 0, 2, 7},
    {"no L2 table", [](Image& image) { image.set(kL1, 0, 0); }, 0, 7},
    {"refcount table entry with reserved bits", [](Image& image) { image.set(kRefcountTable, 0, data(2) | 1); }, 1, 0,
     14},
    {"refcount block outside the file", [](Image& image) { image.set(kRefcountTable, 0, 1000 * kCluster); }, 19, 0},
    {"no refcount block", [](Image& image) { image.set(kRefcountTable, 0, 0); }, 18, 0},
    {"refcount block of another's cluster", [](Image& image) { image.set(kRefcountTable, 1, kData * kCluster); }, 2, 0},
    {"no refcount table", [](Image& image) { image.set_field(48, 0), image.set_field(56, 1); }, 17, 0},
    {"snapshot L1 table outside the file", [](Image& image) { image.set(kSnapshotTable, 0, 1000 * kCluster); }, 1, 3, 0,
     1, 3},
    {"snapshot table outside the file", [](Image& image) { image.set_field(64, 1000 * kCluster); }, 2, 4, 0, 2, 4},
    {"snapshot table unaligned", [](Image& image) { image.set_field(64, 1000); }, 1, 4, 0, 1, 4},
    {"dirty with a refcount too low",
     [](Image& image) { image.set_field(72, kIncompatibleDirty), image.set_refcount(kData + 3, 0); }, 2, 0},
};

class CheckTest : public block::ReactorTest {
 protected:
  void load(Image image) {
    state_.begin(std::move(image.bytes));
    node_ = std::make_unique<block::Node>("file", std::make_unique<RecordingDriver>(state_));
  }
  Result<CheckReport> check(CheckRepair repair) { return run(check_image(*node_, {.repair = repair})); }
  CheckReport report(CheckRepair repair = CheckRepair::kNone) {
    auto result = check(repair);
    EXPECT_TRUE(result) << (result ? "" : result.error().message());
    return result ? *result : CheckReport{};
  }
  // The disk as the guest sees it: the entries without their flags, and the bytes of its clusters.
  static std::vector<std::byte> contents(std::vector<std::byte> bytes) {
    for (const std::uint64_t table : {kL1, kL2}) {
      for (std::size_t i = 0; i < kCluster / 8; ++i) {
        const auto words = std::span(bytes).subspan(static_cast<std::size_t>(table * kCluster), kCluster);
        const std::uint64_t word = table_word(words, i);
        if ((word & kEntryCompressed) == 0) set_table_word(words, i, word & ~kEntryCopied);
      }
    }
    return {bytes.begin() + kL1 * kCluster, bytes.begin() + kClusters * kCluster};
  }

  RecordingState state_;
  std::unique_ptr<block::Node> node_;
};

TEST_F(CheckTest, CountsTheClustersOfTheDisk) {
  load(small_image());
  const CheckReport found = report();
  EXPECT_TRUE(found.is_clean());
  EXPECT_EQ(found.total_clusters, 64u);
  EXPECT_EQ(found.allocated_clusters, 7u);
  EXPECT_EQ(found.compressed_clusters, 2u);
  EXPECT_EQ(found.fragmented_clusters, 3u);
  EXPECT_EQ(found.image_end_offset, kClusters * kCluster);
  EXPECT_TRUE(found.findings.empty());
}

TEST_F(CheckTest, FindsEachDamage) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.name);
    Image image = small_image();
    damage.apply(image);
    load(image);
    const CheckReport found = report();
    EXPECT_EQ(found.corruptions, damage.corruptions);
    EXPECT_EQ(found.leaks, damage.leaks);
    EXPECT_EQ(found.check_errors, damage.check_errors);
    EXPECT_EQ(found.findings.empty(), found.is_clean());
    EXPECT_EQ(state_.bytes, image.bytes) << "a check that repairs nothing writes nothing";
  }
}

TEST_F(CheckTest, RepairsEachDamageWithoutAChangeOfContents) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.name);
    Image image = small_image();
    damage.apply(image);
    load(image);
    const CheckReport repaired = report(CheckRepair::kAll);
    EXPECT_EQ(repaired.corruptions, damage.corruptions_left);
    EXPECT_EQ(repaired.leaks, damage.leaks_left);
    EXPECT_EQ(repaired.check_errors, 0u);
    EXPECT_EQ(repaired.corruptions_fixed, damage.corruptions - damage.corruptions_left);
    EXPECT_EQ(contents(state_.bytes), contents(image.bytes));
    EXPECT_EQ(state_.durable, state_.bytes) << "the repair is durable when it ends";
    const CheckReport again = report(CheckRepair::kAll);
    EXPECT_EQ(again.corruptions, damage.corruptions_left);
    EXPECT_EQ(again.leaks, damage.leaks_left);
    EXPECT_EQ(again.corruptions_fixed + again.leaks_fixed, 0u);
  }
}

TEST_F(CheckTest, ARepairOfLeaksRaisesNoRefcount) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.name);
    Image image = small_image();
    damage.apply(image);
    load(image);
    const CheckReport repaired = report(CheckRepair::kLeaks);
    EXPECT_EQ(contents(state_.bytes), contents(image.bytes));
    EXPECT_GE(repaired.corruptions + repaired.corruptions_fixed, damage.corruptions);
    const bool may_repair = damage.leaks_left == 0 && damage.check_errors == 0 && damage.corruptions < 20;
    if (may_repair) EXPECT_EQ(repaired.leaks, 0u);
    if (damage.leaks == 0 && damage.corruptions != 0) EXPECT_EQ(state_.bytes, image.bytes);
  }
}

TEST_F(CheckTest, ClearsTheMarksOfAnImageThatIsRight) {
  for (const CheckRepair repair : {CheckRepair::kLeaks, CheckRepair::kAll}) {
    Image image = small_image();
    image.set_field(72, kIncompatibleDirty | kIncompatibleCorrupt);
    load(image);
    EXPECT_TRUE(report(repair).is_clean());
    EXPECT_EQ(state_.bytes, small_image().bytes);
  }
  Image image = small_image();
  image.set_field(72, kIncompatibleDirty);
  image.set(kL2, 5, data(1000));
  load(image);
  EXPECT_EQ(report(CheckRepair::kAll).corruptions, 1u);
  EXPECT_EQ(state_.bytes[79], std::byte{kIncompatibleDirty}) << "damage is left";
}

TEST_F(CheckTest, ClearsFeaturesThatItDoesNotKnowBeforeItWrites) {
  Image image = small_image();
  image.set_field(88, 0x80);
  load(image);
  EXPECT_TRUE(report(CheckRepair::kAll).is_clean());
  EXPECT_EQ(state_.bytes, image.bytes) << "nothing was to be repaired";
  image.set_refcount(kData + 1, 2);
  load(image);
  EXPECT_TRUE(report(CheckRepair::kAll).is_clean());
  EXPECT_EQ(state_.bytes[95], std::byte{0});
}

// Only a repair of damage could change the disk without the bitmap store of the session.
TEST_F(CheckTest, ARepairOfLeaksKeepsTheSessionOfABitmapStore) {
  constexpr std::uint64_t kSession = std::uint64_t{7} << kAutoclearSessionShift;
  Image image = small_image();
  image.set_refcount(kData + 1, 2);
  image.set_field(88, kSession | 0x80);
  load(image);
  EXPECT_TRUE(report(CheckRepair::kLeaks).is_clean());
  EXPECT_EQ(table_word(std::span(state_.bytes).subspan(88, 8), 0), kSession);
  load(image);
  EXPECT_TRUE(report(CheckRepair::kAll).is_clean());
  EXPECT_EQ(table_word(std::span(state_.bytes).subspan(88, 8), 0), 0u);
}

TEST_F(CheckTest, RepairsADirtyImageForWhoOpensIt) {
  Image image = small_image();
  image.set_refcount(kData + 1, 0);
  load(image);
  EXPECT_TRUE(run(repair_dirty_image(*node_)));
  EXPECT_EQ(state_.bytes, image.bytes) << "it is not marked";
  image.set_field(72, kIncompatibleDirty);
  load(image);
  EXPECT_TRUE(run(repair_dirty_image(*node_)));
  EXPECT_EQ(state_.bytes, small_image().bytes);
  image.set(kL2, 5, data(1000));
  load(image);
  const auto failed = run(repair_dirty_image(*node_));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message(), "Could not repair dirty image");
}

TEST_F(CheckTest, RefusesFilesThatAreNoImagesAndMoreMemoryThanAllowed) {
  Image image = small_image();
  load(image);
  const auto refused = run(check_image(*node_, {.memory_bytes_max = 100}));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("more than 0 MiB of memory"), std::string::npos);
  image.bytes[0] = std::byte{0};
  load(image);
  EXPECT_EQ(check(CheckRepair::kNone).error().message(), "Image is not in qcow2 format");
  load(Image{{}});
  EXPECT_EQ(check(CheckRepair::kNone).error().message(), "Image is not in qcow2 format");
}

TEST_F(CheckTest, KeepsABoundedNumberOfFindings) {
  Image image = small_image();
  image.bytes.resize(3000 * kCluster);
  for (std::uint64_t i = 0; i < 12; ++i) {
    const std::uint64_t block = kClusters + i;
    image.set(kRefcountTable, i + 1, block * kCluster);
    image.set_refcount(block, 1);
    for (std::size_t word = 0; word < kCluster / 8; ++word) image.set(block, word, 0x0001'0001'0001'0001);
  }
  load(image);
  const CheckReport found = report();
  EXPECT_GT(found.leaks, kCheckFindingsMax);
  EXPECT_EQ(found.findings.size(), kCheckFindingsMax);
  EXPECT_EQ(found.findings_left_out, found.leaks - kCheckFindingsMax);
}

// Every call that may fail during a repair fails once.
TEST_F(CheckTest, AFailureOfARepairIsReportedAndHarmsNothing) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.name);
    Image image = small_image();
    damage.apply(image);
    std::uint64_t failures = 0;
    for (std::uint64_t k = 0;; ++k) {
      load(image);
      state_.calls = 0;
      state_.fails_at = k;
      const auto result = check(CheckRepair::kAll);
      const bool was_reached = state_.calls > k;
      state_.fails_at.reset();
      if (!was_reached) break;
      ++failures;
      EXPECT_TRUE(!result || result->check_errors != 0 || damage.corruptions != 0) << k;
      EXPECT_EQ(contents(state_.bytes), contents(image.bytes)) << k;
      const CheckReport again = report(CheckRepair::kAll);
      EXPECT_EQ(again.corruptions, damage.corruptions_left) << k;
      EXPECT_EQ(again.leaks, damage.leaks_left) << k;
    }
    EXPECT_GT(failures, 5u);
  }
}

TEST_F(CheckTest, ARebuildWithoutSpaceLeavesTheImageAsItWas) {
  Image image = small_image();
  image.set(kRefcountTable, 0, 0);
  load(image);
  state_.bytes_max = image.bytes.size();
  const auto result = check(CheckRepair::kAll);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "Cannot write to the image during the repair: No space left on device");
  EXPECT_EQ(state_.bytes, image.bytes);
  state_.bytes_max = UINT64_MAX;
  EXPECT_TRUE(report(CheckRepair::kAll).is_clean());
}

// Collects the contents that power cuts leave.
class PowerCuts final : public RecordingObserver {
 public:
  PowerCuts(RecordingState& state, std::uint64_t seed) : state_(state), random_(seed) {}
  void before_change() override { left.push_back(state_.after_power_cut(random_)); }
  std::vector<std::vector<std::byte>> left;

 private:
  RecordingState& state_;
  std::mt19937_64 random_;
};

TEST_F(CheckTest, APowerCutDuringARepairHarmsNothing) {
  const std::uint64_t seeds = aio::testing::seeds_here(5);
  std::uint64_t states = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const Damage& damage : kDamages) {
      Image image = small_image();
      damage.apply(image);
      load(image);
      PowerCuts cuts(state_, seed);
      state_.observer = &cuts;
      (void)report(CheckRepair::kAll);
      state_.observer = nullptr;
      for (const std::vector<std::byte>& left : cuts.left) {
        SCOPED_TRACE(damage.name);
        EXPECT_EQ(contents(left), contents(image.bytes));
        load(Image{left});
        const CheckReport again = report(CheckRepair::kAll);
        EXPECT_EQ(again.corruptions, damage.corruptions_left);
        EXPECT_EQ(again.leaks, damage.leaks_left);
        ++states;
      }
    }
  }
  EXPECT_GT(states, 40 * seeds);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
