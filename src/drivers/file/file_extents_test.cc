// The file driver's extents while this node and another program change the file, on every backend, simulated files
// among them. Where the host's file system gives no maps that can be cached, the tests of the cache are skipped.
#include <fcntl.h>

#include <algorithm>
#include <deque>
#include <random>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "base/clock.h"
#include "block/testing/node_model.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Extent;
using block::Extents;
using block::Node;
using block::Range;

constexpr std::uint64_t kBlockBytes = 64u << 10;
constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

Extent data(std::uint64_t blocks) {
  return {.length = blocks * kBlockBytes, .data = true};
}
Extent hole(std::uint64_t blocks) {
  return {.length = blocks * kBlockBytes, .zero = true};
}
Range blocks(std::uint64_t first, std::uint64_t count) {
  return {first * kBlockBytes, count * kBlockBytes};
}

// Skips the test, which may happen only on the host: a simulated file system supports everything.
#define SKIP_ON_HOST(reason)             \
  do {                                   \
    ASSERT_FALSE(simulated()) << reason; \
    GTEST_SKIP() << reason;              \
  } while (false)

class FileExtentsTest : public aio::testing::ForEachBackend {
 public:
  // Another program that has the file open.
  static aio::Task<void> write_as_stranger(aio::Reactor& reactor, int fd, Range range) {
    std::string text(range.length, 's');
    iovec vector{.iov_base = text.data(), .iov_len = text.size()};
    auto written = co_await reactor.write(fd, {&vector, 1}, range.offset, false);
    EXPECT_EQ(written, range.length);
  }
  static aio::Task<void> punch_as_stranger(aio::Reactor& reactor, int fd, Range range) {
    EXPECT_TRUE(co_await reactor.allocate(fd, kPunchHole, range.offset, range.length));
  }

 protected:
  // A node over a new file that is one hole, and another program's descriptor of the file.
  void open_hole(std::uint64_t count) {
    if (node_ != nullptr) reactor().close_now(stranger_);
    node_ = nullptr;
    run(open(reactor(), make_file(), count * kBlockBytes, node_, stranger_));
    ASSERT_NE(node_, nullptr);
  }
  void TearDown() override {
    if (node_ != nullptr) reactor().close_now(stranger_);
    node_ = nullptr;
  }

  void write(Range range) { run(write_data(*node_, range)); }
  void zero(Range range) { run(write_zeroes(*node_, range)); }
  void discard(Range range) { run(discard_range(*node_, range)); }
  void foreign_write(Range range) { run(write_as_stranger(reactor(), stranger_, range)); }
  void foreign_punch(Range range) { run(punch_as_stranger(reactor(), stranger_, range)); }

  // All extents of the range, queried from the file system if needed; and those that the cache has, from the start of
  // the range on.
  Extents asked(Range range) {
    Extents extents;
    run(ask(*node_, range, extents));
    return extents;
  }
  Extents known(Range range) {
    Extents extents;
    (void)node_->try_extents(reactor(), range, extents);
    return extents;
  }
  // Queries until the cache has the answer, which begins with a hole; false after a deadline.
  bool learn_hole(Range range) {
    SystemClock clock;
    for (std::uint64_t deadline_ns = clock.now_ns() + 2'000'000'000; clock.now_ns() < deadline_ns;) {
      (void)asked(range);
      if (!known(range).empty()) return true;
    }
    return false;
  }
  // True if the cache keeps the data of a map.
  bool remembers(Range range_of_data) {
    (void)asked(range_of_data);
    return !known(range_of_data).empty();
  }

  std::unique_ptr<Node> node_;
  int stranger_ = -1;

 private:
  static aio::Task<void> open(aio::Reactor& reactor, std::string path, std::uint64_t size, std::unique_ptr<Node>& node,
                              int& stranger) {
    auto fd = co_await reactor.open(path.c_str(), O_RDWR);
    EXPECT_TRUE(fd);
    if (!fd) co_return;
    EXPECT_TRUE(co_await reactor.truncate(*fd, size));
    auto driver = co_await FileDriver::open({.filename = path, .locking = FileLocking::kOff});
    EXPECT_TRUE(driver);
    if (!driver) co_return;
    stranger = *fd;
    node =
        std::make_unique<Node>("disk", std::move(*driver), block::NodeOptions{.discard = block::DiscardMode::kUnmap});
  }
  static aio::Task<void> write_data(Node& node, Range range) {
    std::string text(range.length, 'd');
    iovec vector{.iov_base = text.data(), .iov_len = text.size()};
    EXPECT_TRUE(co_await node.write(range, {&vector, 1}, {}));
  }
  static aio::Task<void> write_zeroes(Node& node, Range range) {
    EXPECT_TRUE(co_await node.write_zeroes(range, {.may_unmap = true}));
  }
  static aio::Task<void> discard_range(Node& node, Range range) { EXPECT_TRUE(co_await node.discard(range)); }
  static aio::Task<void> ask(Node& node, Range range, Extents& extents) {
    while (!range.empty()) {
      Extents some;
      EXPECT_TRUE(co_await node.extents(range, some));
      EXPECT_FALSE(some.empty());
      if (some.empty()) co_return;
      for (const Extent& extent : some) {
        range = {range.offset + extent.length, range.length - extent.length};
        if (!extents.empty() && extents.back().data == extent.data) {
          extents.back().length += extent.length;
        } else {
          extents.push_back(extent);
        }
      }
    }
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(FileExtentsTest);

TEST_P(FileExtentsTest, DataStayCachedAfterWrites) {
  open_hole(16);
  write(blocks(4, 8));
  if (!remembers(blocks(4, 8))) SKIP_ON_HOST("the file system's maps are not cached");
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{hole(4), data(8), hole(4)}));
  for (std::uint64_t i = 4; i < 12; ++i) {
    write(blocks(i, 1));
    foreign_write(blocks(15 - i, 1));
    EXPECT_EQ(known(blocks(4, 8)), (Extents{data(8)}));
    // Up to the end of the data; the rest was, or still is, a hole.
    EXPECT_EQ(known(blocks(5, 11)), (Extents{data(7)}));
    EXPECT_EQ(known(blocks(12, 1)), Extents());
  }
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{hole(4), data(8), hole(4)}));
}

TEST_P(FileExtentsTest, AWriteIntoAHoleIsReportedAsData) {
  open_hole(16);
  if (!learn_hole(blocks(0, 16))) SKIP_ON_HOST("the file system's maps do not last");
  EXPECT_EQ(known(blocks(0, 16)), (Extents{hole(16)}));
  write(blocks(3, 1));
  EXPECT_EQ(known(blocks(0, 16)), Extents());
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{hole(3), data(1), hole(12)}));
  EXPECT_EQ(known(blocks(3, 1)), (Extents{data(1)}));
  foreign_write(blocks(4, 1));
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{hole(3), data(2), hole(11)}));
}

TEST_P(FileExtentsTest, ADiscardedRangeIsReportedAsAHole) {
  open_hole(16);
  write(blocks(0, 16));
  if (!remembers(blocks(0, 16))) SKIP_ON_HOST("the file system's maps are not cached");
  EXPECT_EQ(known(blocks(0, 16)), (Extents{data(16)}));
  discard(blocks(4, 2));
  EXPECT_EQ(known(blocks(0, 16)), (Extents{data(4)}));
  EXPECT_EQ(known(blocks(6, 10)), (Extents{data(10)})) << "the rest is kept";
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{data(4), hole(2), data(10)}));
  zero(blocks(10, 1));
  EXPECT_EQ(known(blocks(6, 10)), (Extents{data(4)}));
  EXPECT_EQ(known(blocks(11, 5)), (Extents{data(5)}));
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{data(4), hole(2), data(4), hole(1), data(5)}));
}

TEST_P(FileExtentsTest, NoticesSpaceFreedByAnotherProgram) {
  open_hole(16);
  write(blocks(0, 16));
  if (!remembers(blocks(0, 16))) SKIP_ON_HOST("the file system's maps are not cached");
  EXPECT_EQ(known(blocks(0, 16)), (Extents{data(16)}));
  foreign_punch(blocks(4, 2));
  EXPECT_EQ(known(blocks(0, 16)), Extents());
  EXPECT_EQ(asked(blocks(0, 16)), (Extents{data(4), hole(2), data(10)}));
}

TEST_P(FileExtentsTest, QueriesFurtherThanRequestedWhileThatAddsMuch) {
  if (!simulated()) GTEST_SKIP() << "whether a map of the host's file lasts depends on timing";
  simulation().options().maps_last = false;
  open_hole(64);
  write(blocks(0, 48));
  EXPECT_EQ(asked(blocks(0, 1)), (Extents{data(1)}));
  EXPECT_EQ(known(blocks(0, 64)), (Extents{data(48)}));
  // The cache could keep nothing of the rest, so the driver queries it once only.
  EXPECT_EQ(asked(blocks(48, 1)), (Extents{hole(1)}));
  write(blocks(60, 1));
  EXPECT_EQ(asked(blocks(50, 1)), (Extents{hole(1)}));
  EXPECT_EQ(known(blocks(60, 1)), Extents());
  // Queries go further again as soon as a map adds something new.
  EXPECT_EQ(asked(blocks(60, 1)), (Extents{data(1)}));
  write(blocks(62, 2));
  EXPECT_EQ(asked(blocks(61, 1)), (Extents{hole(1)}));
  EXPECT_EQ(known(blocks(62, 2)), (Extents{data(2)}));
}

TEST_P(FileExtentsTest, QueriesNoFurtherThanTheWindow) {
  if (!simulated()) GTEST_SKIP() << "whether a map of the host's file lasts depends on timing";
  constexpr std::uint64_t kWindowBlocks = (1u << 30) / kBlockBytes;
  simulation().options().maps_last = false;
  open_hole(2 * kWindowBlocks);
  write(blocks(kWindowBlocks - 1, 2));
  EXPECT_EQ(asked(blocks(0, 1)), (Extents{hole(1)}));
  EXPECT_EQ(known(blocks(kWindowBlocks - 1, 1)), (Extents{data(1)}));
  EXPECT_EQ(known(blocks(kWindowBlocks, 1)), Extents());
}

// A model: whether a block holds data. One task does everything, so the right answer is known at each moment.
class RandomBlocks {
 public:
  static constexpr std::uint64_t kCount = 24;

  explicit RandomBlocks(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  Range some() {
    first_ = below(kCount);
    count_ = 1 + below(std::min<std::uint64_t>(kCount - first_, 5));
    return blocks(first_, count_);
  }
  bool begins_with_hole() const { return !is_data_[first_]; }
  // Checks the extents of the last range.
  void set(bool is_data) {
    for (std::uint64_t i = 0; i < count_; ++i) is_data_[first_ + i] = is_data;
  }
  // Checks extents that begin at the last range: no hole covers data.
  void check(const Extents& extents) const {
    std::uint64_t at = first_ * kBlockBytes;
    for (const Extent& extent : extents) {
      for (std::uint64_t end = at + extent.length; at < end; at += kBlockBytes) {
        ASSERT_TRUE(extent.data || !is_data_[at / kBlockBytes]) << "block " << at / kBlockBytes;
      }
    }
  }
  // Queries the whole file again.
  Extents all() const {
    Extents extents;
    for (bool is_data : is_data_) {
      if (!extents.empty() && extents.back().data == is_data) {
        extents.back().length += kBlockBytes;
      } else {
        extents.push_back(is_data ? data(1) : hole(1));
      }
    }
    return extents;
  }

 private:
  std::mt19937_64 random_;
  std::array<bool, kCount> is_data_ = {};
  std::uint64_t first_ = 0;
  std::uint64_t count_ = 0;
};

TEST_P(FileExtentsTest, NeverReportsDataAsAHole) {
  int known_holes = 0;
  bool lasts = true;
  const std::uint64_t seeds = simulated() ? 50 : 4;
  for (std::uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    open_hole(RandomBlocks::kCount);
    RandomBlocks model(seed);
    for (int step = 0; step < 200 && !HasFailure(); ++step) {
      const Range range = model.some();
      switch (model.below(12)) {
        case 0:
          write(range);
          model.set(true);
          break;
        case 1:
          foreign_write(range);
          model.set(true);
          break;
        case 2:
          zero(range);
          model.set(false);
          break;
        case 3:
          discard(range);
          model.set(false);
          break;
        case 4:
          foreign_punch(range);
          model.set(false);
          break;
        case 5:
          // On the host's files maps do not last shortly after a write, and waiting takes time.
          if (lasts && model.below(4) == 0 && model.begins_with_hole()) lasts = learn_hole(range);
          break;
        default:
          model.check(known(range));
          model.check(asked(range));
          known_holes += std::ranges::count(known(range), false, &Extent::data) > 0 ? 1 : 0;
      }
    }
  }
  EXPECT_TRUE(lasts || !simulated());
  EXPECT_TRUE(known_holes > (simulated() ? 100 : 0) || !lasts);
}

// While no other program frees space the reported extents are exact, however many of them come from the cache.
TEST_P(FileExtentsTest, ReportsOwnChangesExactly) {
  const std::uint64_t seeds = simulated() ? 50 : 4;
  for (std::uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    open_hole(RandomBlocks::kCount);
    RandomBlocks model(seed);
    for (int step = 0; step < 100 && !HasFailure(); ++step) {
      const Range range = model.some();
      const std::uint64_t what = model.below(5);
      if (what == 0) zero(range);
      if (what == 1) discard(range);
      if (what == 2) foreign_write(range);
      if (what > 2) write(range);
      model.set(what >= 2);
      const Extents told = asked(blocks(0, RandomBlocks::kCount));
      ASSERT_EQ(told, model.all());
    }
  }
}

// Another program's slice of the file, written and punched without the node.
aio::Task<void> be_strange(Node& node, int fd, Range slice, std::uint64_t seed) {
  constexpr std::uint64_t kStepBytes = 4096;
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::mt19937_64 random(seed);
  std::vector<bool> has_data(slice.length / kStepBytes);
  for (int step = 0; step < 60 && !testing::Test::HasFailure(); ++step) {
    const std::uint64_t cell = random() % has_data.size();
    const Range range{slice.offset + cell * kStepBytes, kStepBytes};
    has_data[cell] = random() % 2 == 0;
    if (has_data[cell]) {
      co_await FileExtentsTest::write_as_stranger(reactor, fd, range);
    } else {
      co_await FileExtentsTest::punch_as_stranger(reactor, fd, range);
    }
    Extents extents;
    if (!node.try_extents(reactor, slice, extents)) EXPECT_TRUE(co_await node.extents(slice, extents));
    std::uint64_t at = 0;
    for (const Extent& extent : extents) {
      for (std::uint64_t end = at + extent.length; at < end; at += kStepBytes) {
        EXPECT_TRUE(extent.data || !has_data[at / kStepBytes]) << "at " << slice.offset + at;
      }
    }
  }
}

aio::Task<void> run_together(Node& node, int stranger, std::deque<block::NodeModel>& models, std::uint64_t seed) {
  aio::Scope scope(co_await aio::current_reactor());
  for (block::NodeModel& model : models) scope.spawn("model", model.run(60));
  scope.spawn("stranger", be_strange(node, stranger, {0, kBlockBytes}, seed));
  scope.spawn("stranger", be_strange(node, stranger, {kBlockBytes, kBlockBytes}, seed + 1));
  co_await scope.join();
}

TEST_P(FileExtentsTest, ConcurrentWritersAndOtherProgramsCauseNoFalseHoles) {
  const std::uint64_t seeds = simulated() ? 50 : 5;
  for (std::uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    open_hole(6);
    std::deque<block::NodeModel> models;
    for (std::uint64_t part = 2; part < 6; ++part) models.emplace_back(*node_, blocks(part, 1), seed * 100 + part);
    run(run_together(*node_, stranger_, models, seed));
  }
}

}  // namespace
}  // namespace blockexport::drivers
