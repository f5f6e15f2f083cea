#include "drivers/copy_on_read/copy_on_read_driver.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "block/buffers.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::IoBuffers;
using block::Node;
using block::Permission;
using block::Permissions;
using block::Range;

constexpr std::uint64_t kCluster = 512;
constexpr std::uint64_t kBytes = 16 * kCluster + 100;

// An image over two others: cluster n comes from the image itself, from the layer below, from the one below that, or
// from none, as n % 4 says. A write allocates whole clusters, as that of an image format does; calls of one cluster
// overlap, because each waits for a turn in between.
struct Layers {
  Layers() : top(kBytes), below(kBytes) {
    for (std::uint64_t i = 0; i < kBytes; ++i) {
      const std::uint64_t layer = i / kCluster % 4;
      depth[i / kCluster] = layer == 3 ? 0 : static_cast<std::uint32_t>(layer + 1);
      below[i] = layer == 3 ? std::byte{0} : static_cast<std::byte>('a' + i / kCluster);
      if (layer == 0) top[i] = below[i];
    }
  }

  std::vector<std::byte> top;
  std::vector<std::byte> below;
  std::array<std::uint32_t, kBytes / kCluster + 1> depth{};
  std::vector<std::string> calls;
  int calls_until_failure = -1;  // -1: none fails
  bool waits = false;
};

class LayeredDriver final : public block::LiveDriver {
 public:
  explicit LayeredDriver(Layers& layers) : layers_(layers) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    CO_TRY(count("read", range));
    std::vector<std::byte> bytes(range.length);
    for (std::uint64_t i = 0; i < range.length; ++i) bytes[i] = byte_at(range.offset + i);
    co_await pause();
    block::copy_in(buffers, 0, bytes);
    co_return IoResult();
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, block::WriteOptions) override {
    CO_TRY(count("write", range));
    co_await pause();
    allocate(range);
    block::copy_out(buffers, 0, std::span(layers_.top).subspan(range.offset, range.length));
    co_return IoResult();
  }
  aio::Task<IoResult> write_zeroes(Range range, block::ZeroOptions) override {
    CO_TRY(count("zeroes", range));
    co_await pause();
    allocate(range);
    std::memset(layers_.top.data() + range.offset, 0, range.length);
    co_return IoResult();
  }
  aio::Task<IoResult> discard(Range range) override { co_return count("discard", range); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(Range range, block::Extents& extents) override {
    CO_TRY(count("extents", range));
    append(range, extents);
    co_await pause();
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(Range range) override { co_return count("prefetch", range); }
  IoResult try_read(aio::Reactor&, Range range, IoBuffers buffers, block::InlineHints&) override {
    std::vector<std::byte> bytes(range.length);
    for (std::uint64_t i = 0; i < range.length; ++i) bytes[i] = byte_at(range.offset + i);
    block::copy_in(buffers, 0, bytes);
    layers_.calls.push_back("try_read");
    return {};
  }
  IoResult try_write(aio::Reactor&, Range range, IoBuffers buffers, block::InlineHints&) override {
    allocate(range);
    block::copy_out(buffers, 0, std::span(layers_.top).subspan(range.offset, range.length));
    layers_.calls.push_back("try_write");
    return {};
  }
  IoResult try_extents(aio::Reactor&, Range range, block::Extents& extents) override {
    append(range, extents);
    return {};
  }
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor&, Range range) override {
    return block::FileSpan{.file = nullptr, .offset = range.offset};
  }

  std::uint64_t size_bytes() const override { return kBytes; }
  block::Limits limits() const override { return {.discard_alignment = kCluster}; }
  std::string_view format_name() const override { return "layered"; }

  std::byte byte_at(std::uint64_t offset) const {
    return layers_.depth[offset / kCluster] == 1 ? layers_.top[offset] : layers_.below[offset];
  }

 private:
  IoResult count(const char* verb, Range range) {
    layers_.calls.push_back(std::string(verb) + " " + std::to_string(range.offset) + "+" +
                            std::to_string(range.length));
    if (layers_.calls_until_failure == 0) return fail(EIO);
    if (layers_.calls_until_failure > 0) --layers_.calls_until_failure;
    return {};
  }
  aio::Task<void> pause() {
    if (layers_.waits) co_await aio::next_turn();
  }
  void allocate(Range range) {
    for (std::uint64_t cluster = range.offset / kCluster; cluster * kCluster < range.end(); ++cluster) {
      if (std::exchange(layers_.depth[cluster], 1) == 1) continue;
      const std::uint64_t begin = cluster * kCluster;
      const std::uint64_t length = std::min(kCluster, kBytes - begin);
      std::copy_n(layers_.below.begin() + static_cast<std::ptrdiff_t>(begin), length,
                  layers_.top.begin() + static_cast<std::ptrdiff_t>(begin));
    }
  }
  void append(Range range, block::Extents& extents) const {
    for (std::uint64_t offset = range.offset; offset < range.end();) {
      const std::uint64_t end = std::min(range.end(), (offset / kCluster + 1) * kCluster);
      const std::uint32_t depth = layers_.depth[offset / kCluster];
      extents.push_back({.length = end - offset, .data = depth != 0, .zero = depth == 0, .depth = depth});
      offset = end;
    }
  }

  Layers& layers_;
};

class CopyOnReadDriverTest : public block::ReactorTest {
 protected:
  std::unique_ptr<CopyOnReadDriver> open(const Node* bottom = nullptr) {
    auto opened =
        CopyOnReadDriver::open(std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}), bottom);
    EXPECT_TRUE(opened);
    return std::move(*opened);
  }
  IoResult read(CopyOnReadDriver& driver, Range range) {
    bytes_.assign(range.length, std::byte{});
    const iovec vector{bytes_.data(), bytes_.size()};
    return run(driver.read(range, IoBuffers(&vector, 1)));
  }
  // The depths of the first clusters, a digit each.
  std::string depths(std::size_t count) const {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += std::to_string(layers_.depth[i]);
    return text;
  }

  Layers layers_;
  Node file_{"file", std::make_unique<LayeredDriver>(layers_), {.discard = block::DiscardMode::kUnmap}};
  std::vector<std::byte> bytes_;
};

TEST_F(CopyOnReadDriverTest, StoresTheClustersThatAreRead) {
  auto driver = open();
  EXPECT_EQ(depths(8), "12301230");
  ASSERT_TRUE(read(*driver, {kCluster + 10, kCluster}));
  EXPECT_EQ(depths(8), "11101230") << "whole clusters, and no others";
  EXPECT_EQ(bytes_[0], std::byte{'b'});
  EXPECT_EQ(bytes_.back(), std::byte{'c'});
  EXPECT_EQ(layers_.top[kCluster], std::byte{'b'});
  EXPECT_EQ(layers_.top[3 * kCluster - 1], std::byte{'c'});
  // Bytes that no layer has are stored too, as zeros.
  ASSERT_TRUE(read(*driver, {3 * kCluster, 1}));
  EXPECT_EQ(depths(8), "11111230");
  EXPECT_EQ(bytes_[0], std::byte{0});
  // The last cluster is shorter.
  layers_.depth[16] = 2;
  ASSERT_TRUE(read(*driver, {kBytes - 1, 1}));
  EXPECT_EQ(layers_.depth[16], 1u);
}

TEST_F(CopyOnReadDriverTest, WritesNothingTwice) {
  auto driver = open();
  ASSERT_TRUE(read(*driver, {0, kBytes}));
  layers_.calls.clear();
  ASSERT_TRUE(read(*driver, {0, kBytes}));
  EXPECT_EQ(layers_.calls, (std::vector<std::string>{"extents 0+8292", "read 0+8292"}));
}

TEST_F(CopyOnReadDriverTest, FillsTheChildForAPrefetch) {
  auto driver = open();
  ASSERT_TRUE(run(driver->prefetch({kCluster, kCluster})));
  EXPECT_EQ(depths(4), "1130");
}

TEST_F(CopyOnReadDriverTest, AnswersInlineOnlyWhatStandsInTheChild) {
  auto driver = open();
  bytes_.resize(10);
  const iovec vector{bytes_.data(), bytes_.size()};
  const IoBuffers buffers(&vector, 1);
  block::InlineHints hints;
  EXPECT_TRUE(driver->try_read(reactor(), {0, 10}, buffers, hints));
  EXPECT_TRUE(driver->try_share(reactor(), {0, 10}));
  EXPECT_EQ(driver->try_read(reactor(), {kCluster - 5, 10}, buffers, hints), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(driver->try_share(reactor(), {kCluster - 5, 10}));
  EXPECT_TRUE(driver->try_write(reactor(), {kCluster, 10}, buffers, hints));
  EXPECT_TRUE(driver->try_read(reactor(), {kCluster - 5, 10}, buffers, hints));
}

TEST_F(CopyOnReadDriverTest, RefusesABottomThatIsNotBelowIt) {
  Layers layers;
  Node other{"other", std::make_unique<LayeredDriver>(layers), {}};
  const auto opened =
      CopyOnReadDriver::open(std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}), &other);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message(), "Bottom node 'other' is not in the backing chain of 'file'");
}

TEST_F(CopyOnReadDriverTest, CopiesNothingBelowItsBottom) {
  // The child itself is the last node, so that nothing is copied at all.
  auto driver = open(&file_);
  ASSERT_TRUE(read(*driver, {0, kBytes}));
  EXPECT_EQ(depths(8), "12301230");
  EXPECT_EQ(bytes_[kCluster], std::byte{'b'});
}

TEST_F(CopyOnReadDriverTest, FailsTheReadWhoseCopyFails) {
  // Each call of the child in turn.
  for (int k = 0; k < 100; ++k) {
    layers_ = Layers();
    layers_.calls_until_failure = k;
    auto driver = open();
    const IoResult result = read(*driver, {0, 8 * kCluster});
    for (std::uint64_t i = 0; i < kBytes; ++i) {
      const bool is_stored = layers_.depth[i / kCluster] == 1;
      ASSERT_EQ(is_stored ? layers_.top[i] : layers_.below[i], layers_.below[i]) << "call " << k << " byte " << i;
    }
    if (result) {
      EXPECT_GT(k, 5);
      return;
    }
    EXPECT_EQ(result, IoResult(fail(EIO)));
  }
  FAIL() << "it never ends";
}

TEST_F(CopyOnReadDriverTest, LetsNobodyElseWriteToTheChild) {
  auto driver = open();
  const Permissions own{.used = Permission::kConsistentRead, .shared = block::PermissionSet::all()};
  const Permissions needed = driver->child_permissions(*driver->children()[0], own, false);
  EXPECT_EQ(needed.used, Permission::kConsistentRead | Permission::kWriteUnchanged);
  EXPECT_EQ(needed.shared, block::PermissionSet::all() - Permission::kWrite);
  EXPECT_EQ(driver->format_name(), "copy-on-read");
}

// Readers and writers of a few clusters, on three reactors: no copy brings older bytes back.
class Race {
 public:
  explicit Race(std::uint64_t seed) : reactors_(3, {.seed = seed}), random_(seed) { layers_.waits = true; }

  void run() {
    reactors_.run(drive());
    for (std::size_t cluster = 0; cluster < written_.size(); ++cluster) {
      for (std::uint64_t i = 0; i < 8; ++i) {
        const std::uint64_t offset = cluster * kCluster + 64 * i;
        const std::byte expected = written_[cluster][i] != 0 ? std::byte{written_[cluster][i]} : layers_.below[offset];
        const std::byte found = layers_.depth[cluster] == 1 ? layers_.top[offset] : layers_.below[offset];
        ASSERT_EQ(found, expected) << "offset " << offset;
      }
    }
  }

 private:
  aio::Task<void> drive() {
    driver_ = std::move(*CopyOnReadDriver::open(
        std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}), nullptr));
    aio::Scope scope(reactors_.control());
    for (std::size_t i = 0; i < 9; ++i) scope.spawn("client", on_a_reactor(i));
    co_await scope.join();
  }
  aio::Task<void> on_a_reactor(std::size_t index) {
    co_await aio::run_on(reactors_.data_reactor(index % 3), "client", index < 4 ? read() : write(index - 4));
  }
  aio::Task<void> read() {
    for (int i = 0; i < 20; ++i) {
      std::vector<std::byte> bytes(random_.between(1, 3 * kCluster));
      const iovec vector{bytes.data(), bytes.size()};
      const Range range{random_.below(4 * kCluster), bytes.size()};
      EXPECT_TRUE(co_await driver_->read(range, IoBuffers(&vector, 1)));
    }
  }
  // Writer n owns block n of each cluster.
  aio::Task<void> write(std::size_t number) {
    for (int i = 0; i < 20; ++i) {
      const std::size_t cluster = random_.below(written_.size());
      const auto value = static_cast<std::uint8_t>(random_.between(1, 90));
      std::vector<std::byte> bytes(64, std::byte{value});
      const iovec vector{bytes.data(), bytes.size()};
      const IoBuffers buffers(&vector, 1);
      const Range range{cluster * kCluster + 64 * number, 64};
      aio::Reactor& reactor = co_await aio::current_reactor();
      block::InlineHints hints;
      if (random_.one_in(2) || !driver_->try_write(reactor, range, buffers, hints)) {
        EXPECT_TRUE(co_await driver_->write(range, buffers, {}));
      }
      written_[cluster][number] = value;
      if (random_.one_in(3)) co_await aio::next_turn();
    }
  }

  aio::testing::Interleaving reactors_;
  aio::Random random_;
  Layers layers_;
  Node file_{"file", std::make_unique<LayeredDriver>(layers_), {}};
  std::unique_ptr<CopyOnReadDriver> driver_;
  std::array<std::array<std::uint8_t, 8>, 5> written_{};
};

TEST(CopyOnReadRaceTest, NoCopyOverwritesNewerBytes) {
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(200); ++seed) {
    SCOPED_TRACE(seed);
    Race(seed).run();
  }
}

}  // namespace
}  // namespace blockexport::drivers
