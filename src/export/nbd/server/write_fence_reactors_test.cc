// The write fence's property (write_fence.h) with clients on several reactors, each on its own thread.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <deque>
#include <string>
#include <vector>

#include "aio/testing/simulation.h"
#include "aio/testing/threads.h"
#include "export/nbd/testing/slow_blocks.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

class WriteFenceReactorsTest : public aio::testing::WithThreads {
 protected:
  void SetUp() override {
    WithThreads::SetUp();
    if (IsSkipped()) return;
    first_ = start_thread("first");
    second_ = start_thread("second");
  }

  std::array<aio::DataReactor*, 3> data_reactors() {
    return {&here(), &first_->data_reactor(), &second_->data_reactor()};
  }
  std::unique_ptr<Connected> connect(aio::DataReactor& data_reactor) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    TransmissionContext context{.reactor = data_reactor.reactor,
                                .pool = data_reactor.pool,
                                .process_budget = budget_,
                                .edge = edge_,
                                .fence = fence_,
                                .trace = trace_,
                                .peer = "test"};
    return std::make_unique<Connected>(reactor(), data_reactor, context, clients_, std::pair(ends[0], ends[1]));
  }

  // Each client leaves writes behind and ends; the acknowledged writes of the next one, on any reactor, must stay.
  Task<void> succeed_each_other(int clients) {
    std::deque<std::unique_ptr<Connected>> dead;
    std::size_t at = 0;
    auto now = connect(*data_reactors()[at]);
    for (int number = 0; number < clients; ++number) {
      std::uint64_t unanswered = random_.between(1, 8);
      for (std::uint64_t cookie = 0; cookie < unanswered; ++cookie) {
        (void)co_await now->client.write(cookie, random_.below(kBlocks) * kBlockBytes, bytes_of('!', kBlockBytes));
      }
      if (random_.one_in(2)) (void)co_await reactor().sleep_until(reactor().now_ns() + random_.below(500'000));
      now->client.close();
      dead.push_back(std::move(now));
      at = random_.below(data_reactors().size());
      now = connect(*data_reactors()[at]);
      co_await check(*now, static_cast<char>('a' + number % 26));
    }
    now->client.close();
    co_await now->scope.join();
    for (auto& one : dead) co_await one->scope.join();
  }

  Task<void> check(Connected& successor, char fill) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      Answer written = co_await successor.client.ask_write(block * kBlockBytes, bytes_of(fill, kBlockBytes));
      EXPECT_EQ(written.error, 0u);
    }
    (void)co_await reactor().sleep_until(reactor().now_ns() + random_.below(3'000'000));
    Answer read = co_await successor.client.ask(Command::kRead, 0, kBlocks * kBlockBytes);
    EXPECT_EQ(read.data, bytes_of(fill, kBlocks * kBlockBytes));
  }

  Task<void> quiesce_often(int times) {
    for (int i = 0; i < times; ++i) {
      co_await edge_.quiesce();
      std::string before = co_await content();
      (void)co_await reactor().sleep_until(reactor().now_ns() + 200'000);
      EXPECT_EQ(before, co_await content());
      edge_.resume();
      (void)co_await reactor().sleep_until(reactor().now_ns() + 200'000);
    }
  }

  // The content of the storage, read without the edge.
  Task<std::string> content() {
    std::string bytes(kBlocks * kBlockBytes, 0);
    iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(co_await node_.read({.offset = 0, .length = bytes.size()}, {&vector, 1}));
    co_return bytes;
  }

  block::Node node_{"disk", std::make_unique<SlowBlocks>()};
  block::Edge edge_{node_, {.name = "root"}, {}};
  aio::ProcessBudget budget_;
  exports::WriteFence fence_;
  ClientList clients_;
  Trace trace_;
  aio::Random random_{4711};
  std::unique_ptr<aio::ReactorThread> first_;
  std::unique_ptr<aio::ReactorThread> second_;
};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(WriteFenceReactorsTest);

TEST_P(WriteFenceReactorsTest, ALostClientOfAnyReactorOverwritesNoAcknowledgedWrite) {
  run(succeed_each_other(200));
  EXPECT_FALSE(fence_.is_up());
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

// Requests begin and end on three reactors while the gate is closed and opened.
TEST_P(WriteFenceReactorsTest, AQuiescedEdgeHasNoRequestInsideOnAnyReactor) {
  std::vector<std::unique_ptr<Connected>> all;
  aio::Scope load(reactor());
  std::atomic<bool> stop = false;
  auto keep_writing = [](Client& client, std::atomic<bool>& ended) -> Task<void> {
    char fill = 'a';
    while (!ended) {
      EXPECT_EQ((co_await client.ask_write(0, bytes_of(fill, kBlockBytes))).error, 0u);
      fill = fill == 'z' ? 'a' : static_cast<char>(fill + 1);
    }
  };
  for (aio::DataReactor* data_reactor : data_reactors()) all.push_back(connect(*data_reactor));
  for (auto& one : all) load.spawn("load", keep_writing(one->client, stop));
  run(quiesce_often(100));
  stop = true;
  run(load.join());
  for (auto& one : all) {
    one->client.close();
    run(one->scope.join());
  }
}

}  // namespace
}  // namespace blockexport::nbd::testing
