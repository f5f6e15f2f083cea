// Random verbs of several tasks on one host file at once, buffered and direct, by seed.
#include <atomic>
#include <deque>

#include "block/testing/node_model.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

class FilePropertyTest : public block::ReactorTest {
 protected:
  // A file of 100 000 bytes, which is no multiple of any block size.
  void run_seed(std::uint64_t seed, bool direct) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << (direct ? " direct" : " buffered"));
    std::string path = directory_.sparse_file("disk" + std::to_string(seed), 100'000);
    auto driver = run(FileDriver::open({.filename = path, .direct = direct}));
    ASSERT_TRUE(driver.has_value()) << driver.error().message();
    block::Node node("disk", std::move(*driver), {.discard = block::DiscardMode::kUnmap});
    std::deque<block::NodeModel> models;
    std::mt19937_64 random(seed);
    std::uint64_t size = node.size_bytes();
    for (std::uint64_t offset = 0; offset < size;) {
      std::uint64_t length = std::min<std::uint64_t>(size - offset, 5'000 + random() % 40'000);
      models.emplace_back(node, block::Range{offset, length}, random());
      start(models.back().run(40));
      offset += length;
    }
    until_idle();
  }

  block::TempDir directory_;
};

TEST_F(FilePropertyTest, BufferedFilesReadTheWrittenData) {
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); seed++) run_seed(seed, false);
}

TEST_F(FilePropertyTest, DirectFilesReadTheWrittenData) {
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); seed++) run_seed(seed, true);
}

// Appends pieces of an odd length.
aio::Task<void> append(block::Node& node, int count, std::atomic<std::uint64_t>& end) {
  std::vector<char> bytes(333, 'x');
  const iovec vector{bytes.data(), bytes.size()};
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(co_await node.write({end.load(), bytes.size()}, {&vector, 1}, {.may_grow = true}));
    end += bytes.size();
  }
}

// Reads the last sector until the appends have ended: its bytes in front of the end, and perhaps some behind it.
aio::Task<void> read_last_sectors(block::Node& node, const std::atomic<std::uint64_t>& end, std::uint64_t last_end) {
  while (end < last_end && !testing::Test::HasFailure()) {
    const std::uint64_t present = end.load();
    std::vector<char> bytes(512, '?');
    const iovec vector{bytes.data(), bytes.size()};
    const std::uint64_t offset = (present - 1) / bytes.size() * bytes.size();
    EXPECT_TRUE(co_await node.read({offset, bytes.size()}, {&vector, 1})) << "at " << present;
    EXPECT_EQ(std::ranges::count(std::span(bytes).first(present - offset), 'x'), present - offset);
  }
}

aio::Task<void> read_while_appending(block::Reactors& reactors, std::string path) {
  constexpr int kAppends = 4000;
  auto driver = co_await FileDriver::open({.filename = path});
  EXPECT_TRUE(driver.has_value());
  block::Node node("disk", std::move(*driver));
  std::atomic<std::uint64_t> end = 0;
  co_await append(node, 1, end);
  aio::Scope scope(reactors.control());
  scope.spawn("append", aio::run_on(reactors.place(1), "append", append(node, kAppends, end)));
  scope.spawn("read", read_last_sectors(node, end, 333 * (kAppends + 1)));
  co_await scope.join();
}

TEST_F(FilePropertyTest, TheLastSectorIsReadWhileAnotherReactorAppends) {
  block::Reactors reactors(2, 1);
  reactors.run(read_while_appending(reactors, directory_.sparse_file("disk", 0)));
}

}  // namespace
}  // namespace blockexport::drivers
