#include "drivers/file/extent_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace blockexport::drivers {
namespace {

using aio::FileInfo;
using aio::FileMap;
using aio::FileRun;
using aio::FileRunKind;
using block::Extent;
using block::Extents;
using block::Range;

constexpr FileRunKind kData = FileRunKind::kData;
constexpr FileRunKind kHole = FileRunKind::kHole;

Extent data(std::uint64_t length) {
  return {.length = length, .data = true};
}
Extent hole(std::uint64_t length) {
  return {.length = length, .zero = true};
}

class ExtentCacheTest : public testing::Test {
 protected:
  // The FileInfo of the file after `changes` changes.
  static FileInfo info(std::int64_t changes, std::uint64_t allocated_bytes = 100) {
    return {.size_bytes = 1000, .allocated_bytes = allocated_bytes, .inode = 1, .changed_ns = changes};
  }
  // Empty when the first byte is not in the cache.
  Extents found(const FileInfo& now, Range range) { return found(cache_.begin_observation(), now, range); }
  Extents found(ExtentCache::Observation observation, const FileInfo& now, Range range) {
    Extents extents;
    IoResult result = cache_.find(observation, now, range, extents);
    EXPECT_EQ(result.has_value(), !extents.empty());
    return extents;
  }
  std::uint64_t learn(std::uint64_t offset, std::vector<FileRun> runs, const FileInfo& now, bool lasting) {
    return cache_.store(cache_.begin_observation(), offset,
                        {.runs = std::move(runs), .info = now, .exact = true, .lasting = lasting});
  }

  ExtentCache cache_;
};

TEST_F(ExtentCacheTest, ReportsHolesOnlyWhileTheFileIsUnchanged) {
  EXPECT_FALSE(cache_.may_know());
  EXPECT_EQ(learn(0, {{100, kHole}}, info(7), true), 100u);
  EXPECT_TRUE(cache_.may_know());
  EXPECT_EQ(found(info(7), {0, 10}), (Extents{hole(10)}));
  EXPECT_EQ(found(info(8), {0, 10}), Extents());
  EXPECT_EQ(found(info(7), {0, 10}), Extents()) << "dropped holes stay unknown";
}

TEST_F(ExtentCacheTest, NeverMixesHolesOfTwoStates) {
  learn(0, {{100, kHole}}, info(7), true);
  learn(100, {{100, kHole}}, info(8), true);
  EXPECT_EQ(found(info(8), {0, 10}), Extents());
  EXPECT_EQ(found(info(8), {100, 10}), (Extents{hole(10)}));
}

TEST_F(ExtentCacheTest, DataOutliveChanges) {
  learn(0, {{100, kData}, {50, kHole}, {50, kData}}, info(7), true);
  for (std::int64_t changes = 8; changes < 20; ++changes) {
    EXPECT_EQ(found(info(changes, 200), {0, 200}), (Extents{data(100)}));
    EXPECT_EQ(found(info(changes, 200), {120, 80}), Extents());
    EXPECT_EQ(found(info(changes, 200), {150, 50}), (Extents{data(50)}));
  }
}

TEST_F(ExtentCacheTest, AMapThatDoesNotLastStoresOnlyItsData) {
  EXPECT_EQ(learn(0, {{100, kHole}, {100, kData}, {100, kHole}}, info(7), false), 100u);
  EXPECT_EQ(found(info(7), {0, 300}), Extents());
  EXPECT_EQ(found(info(7), {100, 200}), (Extents{data(100)}));
  EXPECT_EQ(learn(100, {{100, kHole}}, info(7), false), 0u);
  EXPECT_EQ(found(info(7), {100, 200}), Extents()) << "a newer map without data there replaces them";
}

TEST_F(ExtentCacheTest, UnexplainedLossOfSpaceDropsEverything) {
  learn(0, {{100, kData}}, info(7, 100), true);
  EXPECT_EQ(found(info(8, 100), {0, 100}), (Extents{data(100)}));
  EXPECT_EQ(found(info(9, 99), {0, 100}), Extents());
  EXPECT_FALSE(cache_.may_know());
  learn(0, {{100, kData}}, info(9, 99), true);
  EXPECT_EQ(found(info(9, 99), {0, 100}), (Extents{data(100)}));
}

TEST_F(ExtentCacheTest, ADifferentSizeOrFileDropsEverything) {
  for (auto change : {+[](FileInfo& now) { ++now.size_bytes; }, +[](FileInfo& now) { --now.size_bytes; },
                      +[](FileInfo& now) { ++now.inode; }, +[](FileInfo& now) { ++now.device; }}) {
    learn(0, {{100, kData}}, info(7), true);
    FileInfo other = info(8);
    change(other);
    EXPECT_EQ(found(other, {0, 100}), Extents());
  }
}

TEST_F(ExtentCacheTest, AFreeingDropsItsRangeOnly) {
  learn(0, {{100, kData}}, info(7, 100), true);
  {
    ExtentCache::Freeing freeing(cache_, {40, 20});
  }
  EXPECT_EQ(found(info(8, 80), {0, 100}), (Extents{data(40)}));
  EXPECT_EQ(found(info(8, 80), {40, 60}), Extents());
  EXPECT_EQ(found(info(8, 80), {60, 40}), (Extents{data(40)}));
  // The Freeing does not explain space that is missing later.
  EXPECT_EQ(found(info(9, 79), {0, 100}), Extents());
}

// The space may be missing before the call has ended, or still be there at an observation during the call.
TEST_F(ExtentCacheTest, AFreeingExplainsLessSpaceWheneverItIsObserved) {
  learn(0, {{100, kData}}, info(7, 100), true);
  auto freeing = std::make_unique<ExtentCache::Freeing>(cache_, Range{40, 20});
  EXPECT_EQ(found(info(8, 90), {0, 100}), (Extents{data(100)}));
  ExtentCache::Observation early = cache_.begin_observation();
  freeing = nullptr;
  EXPECT_EQ(found(early, info(8, 90), {0, 100}), (Extents{data(40)}));
  EXPECT_EQ(found(info(9, 80), {0, 100}), (Extents{data(40)}));
  EXPECT_EQ(found(info(10, 70), {0, 100}), Extents());
}

TEST_F(ExtentCacheTest, AnOldObservationChangesNothing) {
  learn(0, {{100, kData}, {100, kHole}}, info(7, 200), true);
  ExtentCache::Observation old = cache_.begin_observation();
  learn(0, {{100, kData}, {100, kHole}}, info(9, 300), true);
  EXPECT_EQ(found(old, info(8, 250), {0, 200}), Extents());
  EXPECT_EQ(found(info(9, 300), {0, 200}), (Extents{data(100), hole(100)}));
  // Neither does an old map, except that its data are stored.
  const FileMap map{.runs = {{50, kHole}, {50, kData}}, .info = info(8, 250), .exact = true, .lasting = true};
  EXPECT_EQ(cache_.store(old, 200, map), 50u);
  EXPECT_EQ(found(info(9, 300), {0, 250}), (Extents{data(100), hole(100)}));
  EXPECT_EQ(found(info(9, 300), {250, 50}), (Extents{data(50)}));
}

TEST_F(ExtentCacheTest, AMapThatBeganBeforeAFreeingEndedIsNotStored) {
  const FileMap map{.runs = {{100, kData}}, .info = info(7), .exact = true};
  ExtentCache::Observation before = cache_.begin_observation();
  auto freeing = std::make_unique<ExtentCache::Freeing>(cache_, Range{0, 10});
  ExtentCache::Observation meanwhile = cache_.begin_observation();
  EXPECT_EQ(cache_.store(meanwhile, 0, map), 0u);
  freeing = nullptr;
  EXPECT_EQ(cache_.store(before, 0, map), 0u);
  EXPECT_EQ(cache_.store(meanwhile, 0, map), 0u);
  EXPECT_FALSE(cache_.may_know());
  EXPECT_EQ(cache_.store(cache_.begin_observation(), 0, map), 100u);
}

TEST_F(ExtentCacheTest, AMapThatBeganBeforeOthersFreedSpaceIsNotStored) {
  learn(0, {{100, kData}}, info(7, 200), true);
  ExtentCache::Observation before = cache_.begin_observation();
  EXPECT_EQ(found(info(8, 100), {0, 100}), Extents());
  EXPECT_EQ(cache_.store(before, 0, {.runs = {{100, kData}}, .info = info(7, 200), .exact = true}), 0u);
  EXPECT_EQ(found(info(8, 100), {0, 100}), Extents());
}

TEST_F(ExtentCacheTest, AMapThatBeganBeforeClearIsNotStored) {
  ExtentCache::Observation before = cache_.begin_observation();
  learn(0, {{100, kData}}, info(7), true);
  cache_.clear();
  EXPECT_FALSE(cache_.may_know());
  EXPECT_EQ(cache_.store(before, 0, {.runs = {{100, kData}}, .info = info(7), .exact = true, .lasting = true}), 0u);
}

// A file of cells, some of which hold data. Observations, freeing calls and maps of it overlap in random order, each in
// several steps.
class RandomFile {
 public:
  static constexpr std::uint64_t kCells = 24;
  using Cells = std::array<bool, kCells>;  // whether a cell holds data

  RandomFile(std::uint64_t seed, bool strangers_free) : random_(seed), strangers_free_(strangers_free) {
    for (bool& cell : cells_) cell = below(2) == 0;
  }

  void step() {
    switch (below(12)) {
      case 0:
        return step_freeing();
      case 1:
        return write(below(6) == 0);
      case 2:
      case 3:
        return begin_observation();
      case 4:
      case 5:
        return end_observation();
      default:
        return step_map();
    }
  }

  // Ends all steps that are under way.
  void settle() {
    while (!observations_.empty()) end_observation();
    while (freeing_ != nullptr) step_freeing();
    while (map_step_ > 0) step_map();
  }

  // Data that the cache reports are right while only our own calls have freed space.
  void check_data() {
    for (std::uint64_t at = 0; at < kCells; ++at) {
      Extents extents;
      (void)cache_.find(cache_.begin_observation(), info(), {at, 1}, extents);
      EXPECT_TRUE(extents.empty() || extents[0].data == cells_[at]) << at;
    }
  }

  // Another program punches the whole file.
  void free_by_stranger() {
    Extents extents;
    (void)cache_.find(cache_.begin_observation(), info(), {0, kCells}, extents);
    set({0, kCells}, false);
    EXPECT_FALSE(cache_.find(cache_.begin_observation(), info(), {0, kCells}, extents));
    EXPECT_FALSE(cache_.may_know());
  }

  bool has_data() const { return std::ranges::count(cells_, true) > 0; }
  std::uint64_t holes_reported() const { return holes_reported_; }
  std::uint64_t data_reported() const { return data_reported_; }

 private:
  struct RunningObservation {
    ExtentCache::Observation observation;
    FileInfo info;
    Cells cells;
  };

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  Range some_range() {
    std::uint64_t offset = below(kCells);
    return {offset, 1 + below(std::min<std::uint64_t>(kCells - offset, 6))};
  }
  FileInfo info() const {
    auto allocated = static_cast<std::uint64_t>(std::ranges::count(cells_, true));
    return {.size_bytes = kCells, .allocated_bytes = allocated, .inode = 1, .changed_ns = changes_};
  }
  void set(Range range, bool is_data) {
    ++changes_;
    for (std::uint64_t at = range.offset; at < range.end(); ++at) cells_[at] = is_data;
  }

  void write(bool free) {
    // Most steps change nothing, so that the cache can keep something.
    if (below(3) == 0) set(some_range(), !(free && strangers_free_));
  }

  void begin_observation() {
    ExtentCache::Observation observation = cache_.begin_observation();
    observations_.push_back({observation, info(), cells_});
  }

  void end_observation() {
    if (observations_.empty()) return;
    std::swap(observations_[below(observations_.size())], observations_.back());
    const RunningObservation running = observations_.back();
    observations_.pop_back();
    Range asked = some_range();
    Extents extents;
    if (!cache_.find(running.observation, running.info, asked, extents)) return;
    std::uint64_t at = asked.offset;
    for (const Extent& extent : extents) {
      for (std::uint64_t end = at + extent.length; at < end; ++at) {
        ASSERT_TRUE(extent.data || !running.cells[at]) << "reported a hole where the observed file has data: " << at;
        ++(extent.data ? data_reported_ : holes_reported_);
      }
    }
  }

  void step_map() {
    if (map_step_ == 0) {
      map_observation_ = cache_.begin_observation();
    } else if (map_step_ == 1) {
      map_ = {.runs = {}, .info = info(), .exact = true};
      map_range_ = some_range();
      map_at_ = map_range_.offset;
    } else if (map_at_ < map_range_.end()) {
      // The map reads one cell in each step, and the file may change between two steps.
      map_.add(1, cells_[map_at_] ? kData : kHole);
      ++map_at_;
      return;
    } else {
      map_.lasting = map_.info == info() && below(3) > 0;
      cache_.store(map_observation_, map_range_.offset, map_);
    }
    map_step_ = (map_step_ + 1) % 3;
  }

  void step_freeing() {
    if (freeing_ == nullptr) {
      if (below(8) > 0) return;
      freed_range_ = some_range();
      freeing_ = std::make_unique<ExtentCache::Freeing>(cache_, freed_range_);
      has_freed_ = false;
    } else if (!has_freed_) {
      set(freed_range_, false);
      has_freed_ = true;
    } else {
      freeing_ = nullptr;
    }
  }

  std::mt19937_64 random_;
  bool strangers_free_;
  ExtentCache cache_;
  Cells cells_ = {};
  std::int64_t changes_ = 1;
  std::vector<RunningObservation> observations_;
  int map_step_ = 0;
  ExtentCache::Observation map_observation_ = 0;
  FileMap map_;
  Range map_range_;
  std::uint64_t map_at_ = 0;
  std::unique_ptr<ExtentCache::Freeing> freeing_;
  Range freed_range_;
  bool has_freed_ = false;
  std::uint64_t holes_reported_ = 0;
  std::uint64_t data_reported_ = 0;
};

TEST(ExtentCachePropertyTest, NeverReportsDataAsAHole) {
  std::uint64_t holes_reported = 0;
  std::uint64_t data_reported = 0;
  for (std::uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomFile file(seed, true);
    for (int step = 0; step < 500; ++step) file.step();
    file.settle();
    if (file.has_data()) file.free_by_stranger();
    holes_reported += file.holes_reported();
    data_reported += file.data_reported();
  }
  EXPECT_GT(holes_reported, 1000u);
  EXPECT_GT(data_reported, 1000u);
}

TEST(ExtentCachePropertyTest, NeverReportsRangesThatWeFreedAsData) {
  std::uint64_t data_reported = 0;
  for (std::uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomFile file(seed, false);
    for (int round = 0; round < 50; ++round) {
      for (int step = 0; step < 20; ++step) file.step();
      file.settle();
      file.check_data();
    }
    data_reported += file.data_reported();
  }
  EXPECT_GT(data_reported, 1000u);
}

}  // namespace
}  // namespace blockexport::drivers
