#include "drivers/null/null_driver.h"

#include <algorithm>

#include "aio/task/current.h"
#include "block/node.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::Extent;
using block::Extents;
using block::IoBuffers;

using NullDriverTest = block::ReactorTest;

TEST_F(NullDriverTest, RoundsItsSizeUp) {
  EXPECT_EQ(NullDriver({.size_bytes = 1000}).size_bytes(), 1024u);
  EXPECT_EQ(NullDriver({}).size_bytes(), 1u << 30);
}

TEST_F(NullDriverTest, OverwritesTheBufferWithZeros) {
  NullDriver driver({.size_bytes = 4096});
  std::string text = "secret";
  iovec vector{text.data(), text.size()};
  EXPECT_TRUE(run(driver.read({0, 6}, IoBuffers(&vector, 1))));
  EXPECT_EQ(text, std::string(6, '\0'));
  text = "secret";
  block::InlineHints hints;
  EXPECT_TRUE(driver.try_read(reactor(), {0, 6}, IoBuffers(&vector, 1), hints));
  EXPECT_EQ(text, std::string(6, '\0'));
}

aio::Task<void> count_turns(int& turns, const bool& done) {
  while (!done) {
    ++turns;
    co_await aio::next_turn();
  }
}

aio::Task<void> read_and_tell(NullDriver& driver, block::Range range, iovec vector, bool& done) {
  EXPECT_TRUE(co_await driver.read(range, {&vector, 1}));
  done = true;
}

TEST_F(NullDriverTest, ALongReadYieldsToOtherTasks) {
  constexpr std::uint64_t kLength = block::Node::kReadAtOnceBytesMax + 100;
  NullDriver driver({.size_bytes = kLength, .read_zeroes = true});
  std::vector<char> bytes(kLength, 'x');
  bool done = false;
  int turns = 0;
  start(read_and_tell(driver, {0, kLength}, {bytes.data(), bytes.size()}, done));
  start(count_turns(turns, done));
  until_idle();
  EXPECT_GE(turns, static_cast<int>(kLength / block::Node::kReadPieceBytes));
  EXPECT_EQ(std::ranges::count(bytes, '\0'), static_cast<std::ptrdiff_t>(kLength));
}

TEST_F(NullDriverTest, WaitsForItsLatency) {
  NullDriver driver({.size_bytes = 4096, .latency_ns = 2'000'000});
  std::uint64_t started_ns = reactor().now_ns();
  EXPECT_TRUE(run(driver.write({0, 0}, {}, {})));
  EXPECT_GE(reactor().now_ns() - started_ns, 2'000'000u);
  block::InlineHints hints;
  EXPECT_EQ(driver.try_write(reactor(), {0, 0}, {}, hints).error(), Errno(EAGAIN));
}

TEST_F(NullDriverTest, PromisesZerosOnlyWhenAsked) {
  Extents extents;
  NullDriver plain({});
  NullDriver zeroes({.read_zeroes = true});
  EXPECT_TRUE(run(plain.extents({0, 512}, extents)));
  EXPECT_TRUE(run(zeroes.extents({0, 512}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 512, .depth = 0}, {.length = 512, .zero = true, .depth = 0}}));
  extents.clear();
  EXPECT_TRUE(zeroes.try_extents(reactor(), {0, 512}, extents));
  EXPECT_EQ(extents, (Extents{{.length = 512, .zero = true, .depth = 0}}));
}

TEST_F(NullDriverTest, AcceptsEveryVerb) {
  NullDriver driver({.format_name = "null-aio"});
  EXPECT_TRUE(run(driver.write_zeroes({0, 512}, {})));
  EXPECT_TRUE(run(driver.discard({0, 512})));
  EXPECT_TRUE(run(driver.flush()));
  EXPECT_TRUE(run(driver.prefetch({0, 512})));
  EXPECT_EQ(run(driver.allocated_bytes()), 0u);
  EXPECT_EQ(driver.filename(), "null-aio://");
}

}  // namespace
}  // namespace blockexport::drivers
