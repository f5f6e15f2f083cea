#include "aio/memory/pool_trimmer.h"

#include <gtest/gtest.h>

#include <memory>

#include "aio/testing/backends.h"
#include "aio/testing/simulation.h"
#include "aio/threads/data_reactor.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::size_t kBufferBytes = 1u << 20;

class PoolTrimmerTest : public ::testing::Test {
 protected:
  void sleep(std::uint64_t duration_ns) { testing::run(*reactor_, sleep_for(*reactor_, duration_ns)); }

  static Task<void> sleep_for(Reactor& reactor, std::uint64_t duration_ns) {
    (void)co_await reactor.sleep_until(reactor.now_ns() + duration_ns);
  }

  Simulation simulation_;
  std::unique_ptr<Reactor> reactor_ = simulation_.make_reactor();
  DataReactor data_reactor_{*reactor_};
};

TEST_F(PoolTrimmerTest, IdleBuffersGoAfterTheQuiet) {
  data_reactor_.pool.take(kBufferBytes);
  sleep(1);
  ASSERT_GT(data_reactor_.pool.idle_bytes(), kBufferBytes);
  sleep(PoolTrimmer::kQuietNs - kSecondNs);
  EXPECT_GT(data_reactor_.pool.idle_bytes(), kBufferBytes);
  sleep(2 * kSecondNs);
  EXPECT_EQ(data_reactor_.pool.idle_bytes(), 0u);
}

TEST_F(PoolTrimmerTest, BuffersThatComeAndGoStay) {
  for (int i = 0; i < 20; ++i) {
    data_reactor_.pool.take(kBufferBytes);
    sleep(kSecondNs);
    EXPECT_GT(data_reactor_.pool.idle_bytes(), kBufferBytes);
  }
}

TEST_F(PoolTrimmerTest, ABufferThatWasHeldForLongIsKeptForAWhile) {
  {
    Buffer held = data_reactor_.pool.take(kBufferBytes);
    sleep(10 * PoolTrimmer::kQuietNs);
  }
  sleep(kSecondNs);
  EXPECT_GT(data_reactor_.pool.idle_bytes(), kBufferBytes);
}

TEST_F(PoolTrimmerTest, TheReactorIsWokenOnceAndOnlyWhileThereIsSomethingToTrim) {
  data_reactor_.pool.take(kBufferBytes);
  sleep(1);
  std::uint64_t began_ns = reactor_->now_ns();
  // Nothing else is under way, so only the trimmer's deadline ends this turn.
  EXPECT_FALSE(reactor_->run_once(100 * kSecondNs));
  EXPECT_EQ(data_reactor_.pool.idle_bytes(), 0u);
  EXPECT_LE(reactor_->now_ns() - began_ns, PoolTrimmer::kQuietNs);
  began_ns = reactor_->now_ns();
  EXPECT_FALSE(reactor_->run_once(100 * kSecondNs));
  EXPECT_EQ(reactor_->now_ns() - began_ns, 100 * kSecondNs);
}

}  // namespace
}  // namespace blockexport::aio
