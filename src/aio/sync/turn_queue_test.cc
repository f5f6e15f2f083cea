#include "aio/sync/turn_queue.h"

#include <gtest/gtest.h>

#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"

namespace blockexport::aio {
namespace {

class TurnQueueTest : public ::testing::Test {
 protected:
  Simulation simulation_;
  std::unique_ptr<Reactor> reactor_ = simulation_.make_reactor();
  TurnQueue queue_{*reactor_};
};

// Takes turns for ever, and counts them.
Task<void> work(TurnQueue& queue, std::size_t& pieces) {
  while (co_await queue.turn()) ++pieces;
}

TEST_F(TurnQueueTest, LetsOnePieceBeDoneInATurn) {
  std::vector<std::size_t> pieces(20);
  Scope scope(*reactor_);
  for (std::size_t& count : pieces) scope.spawn("worker", work(queue_, count));
  std::size_t done = 0;
  for (int turn = 0; turn < 1000; ++turn) {
    reactor_->run_once(0);
    std::size_t now_done = 0;
    for (std::size_t count : pieces) now_done += count;
    EXPECT_LE(now_done, done + 1);
    done = now_done;
  }
  EXPECT_GE(done, 400u);
  for (std::size_t count : pieces) EXPECT_NEAR(static_cast<double>(count), static_cast<double>(done) / 20, 1.0);
  scope.cancel();
  simulation_.run_until_idle(*reactor_);
}

TEST_F(TurnQueueTest, AWaiterThatIsCancelledGivesItsPlaceToTheNext) {
  std::size_t first = 0;
  std::size_t second = 0;
  Scope leaves(*reactor_);
  Scope stays(*reactor_);
  leaves.spawn("worker", work(queue_, first));
  stays.spawn("worker", work(queue_, second));
  leaves.cancel();
  for (int turn = 0; turn < 10; ++turn) reactor_->run_once(0);
  EXPECT_LE(first, 1u);
  EXPECT_GE(second, 3u);
  stays.cancel();
  simulation_.run_until_idle(*reactor_);
}

}  // namespace
}  // namespace blockexport::aio
