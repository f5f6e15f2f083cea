#include "daemon/watchdog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <latch>
#include <thread>

#include "aio/threads/reactor_thread.h"

namespace blockexport::daemon {
namespace {

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() {
    for (int i = 0; i < 2; ++i) {
      auto thread = aio::ReactorThread::start("test", {.backend = aio::BackendKind::kEpoll}, log_);
      EXPECT_TRUE(thread);
      threads_.push_back(std::move(*thread));
      reactors_.push_back(&threads_.back()->data_reactor().reactor);
    }
  }

  static void wait_for(const ReactorRound& round) {
    while (!round.is_complete()) std::this_thread::yield();
  }

  const Log log_{"test", STDERR_FILENO, LogLevel::kError};
  std::vector<std::unique_ptr<aio::ReactorThread>> threads_;
  std::vector<aio::Reactor*> reactors_;
};

TEST_F(WatchdogTest, ARoundIsCompleteOnceEachReactorHasTurned) {
  EXPECT_TRUE(ReactorRound().is_complete());
  const ReactorRound round(reactors_);
  wait_for(round);
  EXPECT_TRUE(round.is_complete());
}

TEST_F(WatchdogTest, OneReactorThatHangsKeepsTheRoundOpen) {
  std::latch hangs(1);
  std::latch ends(1);
  reactors_[1]->post([&] {
    hangs.count_down();
    ends.wait();
  });
  hangs.wait();
  const ReactorRound round(reactors_);
  const ReactorRound first({reactors_[0]});
  wait_for(first);
  EXPECT_FALSE(round.is_complete());
  ends.count_down();
  wait_for(round);
  EXPECT_TRUE(round.is_complete());
}

TEST_F(WatchdogTest, AReactorThatEndsKeepsNoRoundOpen) {
  const ReactorRound round(reactors_);
  threads_.clear();
  EXPECT_TRUE(round.is_complete());
}

}  // namespace
}  // namespace blockexport::daemon
