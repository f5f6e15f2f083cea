#include "block/request_gate.h"

#include <atomic>
#include <thread>

#include "aio/task/current.h"
#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

using RequestGateTest = ReactorTest;

aio::Task<void> close_and_tell(RequestGate& gate, bool& closed) {
  co_await gate.close();
  closed = true;
}

aio::Task<void> enter_and_tell(RequestGate& gate, bool& inside) {
  EXPECT_TRUE(co_await gate.enter());
  inside = true;
  gate.leave();
}

TEST_F(RequestGateTest, LetsInWhileOpen) {
  RequestGate gate;
  EXPECT_TRUE(gate.is_open());
  EXPECT_TRUE(gate.try_enter());
  EXPECT_TRUE(run(gate.enter()));
  gate.leave();
  gate.leave();
}

TEST_F(RequestGateTest, CloseWaitsForRequestsInside) {
  RequestGate gate;
  bool closed = false;
  ASSERT_TRUE(gate.try_enter());
  start(close_and_tell(gate, closed));
  EXPECT_FALSE(gate.is_open());
  EXPECT_FALSE(gate.try_enter());
  EXPECT_FALSE(closed);
  gate.leave();
  until_idle();
  EXPECT_TRUE(closed);
  gate.open();
}

TEST_F(RequestGateTest, RequestsWaitWhileItIsClosed) {
  RequestGate gate;
  run(gate.close());
  run(gate.close());
  bool inside = false;
  start(enter_and_tell(gate, inside));
  gate.open();
  EXPECT_FALSE(gate.is_open());
  EXPECT_FALSE(inside);
  gate.open();
  until_idle();
  EXPECT_TRUE(inside);
}

TEST_F(RequestGateTest, AWaitForAClosedGateCanBeCancelled) {
  RequestGate gate;
  run(gate.close());
  aio::Scope scope(reactor());
  IoResult result;
  scope.spawn("enter", [](RequestGate& door, IoResult& ended) -> aio::Task<void> {
    ended = co_await door.enter();
  }(gate, result));
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(result.error(), Errno(ECANCELED));
  gate.open();
}

aio::Task<void> visit_often(RequestGate& gate, std::atomic<int>& inside, int visits) {
  for (int i = 0; i < visits; i++) {
    EXPECT_TRUE(co_await gate.enter());
    inside++;
    co_await aio::next_turn();
    inside--;
    gate.leave();
  }
}

aio::Task<void> close_often(RequestGate& gate, std::atomic<int>& inside, int times) {
  for (int i = 0; i < times; i++) {
    co_await gate.close();
    EXPECT_EQ(inside.load(), 0);
    co_await aio::next_turn();
    EXPECT_EQ(inside.load(), 0);
    gate.open();
    co_await aio::next_turn();
  }
}

TEST_F(RequestGateTest, StopsTheRequestsOfAnotherReactor) {
  RequestGate gate;
  std::atomic<int> inside = 0;
  std::thread other([&] {
    Log log("test", 2, LogLevel::kWarning);
    auto reactor = std::move(*aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, log));
    aio::Scope scope(*reactor);
    for (int i = 0; i < 4; i++) scope.spawn("visits", visit_often(gate, inside, 2000));
    while (scope.size() > 0) reactor->run_once(10'000'000);
  });
  run(close_often(gate, inside, 500));
  other.join();
  EXPECT_TRUE(gate.is_open());
}

}  // namespace
}  // namespace blockexport::block
