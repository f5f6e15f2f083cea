#include "aio/sync/shared_event.h"

#include <gtest/gtest.h>

#include "aio/sync/scope.h"
#include "aio/testing/threads.h"

namespace blockexport::aio {
namespace {

class SharedEventTest : public testing::ForEachBackend {
 protected:
  void settle() {
    for (int i = 0; i < 20; ++i) reactor().run_once(0);
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(SharedEventTest);

Task<void> wait_for(SharedEvent& event, int& woken, int& cancelled) {
  ++(co_await event.wait() ? woken : cancelled);
}

TEST_P(SharedEventTest, WakesAllAndStaysSet) {
  SharedEvent event(SharedEvent::State::kReset);
  Scope scope(reactor());
  int woken = 0;
  int cancelled = 0;
  for (int i = 0; i < 3; ++i) scope.spawn("waiter", wait_for(event, woken, cancelled));
  settle();
  EXPECT_EQ(woken, 0);
  event.set();
  EXPECT_TRUE(event.is_set());
  EXPECT_EQ(woken, 0) << "never inside the call that wakes";
  run(scope.join());
  EXPECT_EQ(woken, 3);
  run(wait_for(event, woken, cancelled));
  EXPECT_EQ(woken, 4);
  event.reset();
  EXPECT_FALSE(event.is_set());
}

TEST_P(SharedEventTest, AWaitCanBeCancelledUnlessThatIsIgnored) {
  SharedEvent honours(SharedEvent::State::kReset);
  SharedEvent ignores(SharedEvent::State::kReset, Event::Cancellation::kIgnored);
  Scope scope(reactor());
  int woken = 0;
  int cancelled = 0;
  scope.spawn("waiter", wait_for(honours, woken, cancelled));
  scope.spawn("waiter", wait_for(ignores, woken, cancelled));
  scope.cancel();
  settle();
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(woken, 0);
  ignores.set();
  run(scope.join());
  EXPECT_EQ(woken, 1);
}

TEST_P(SharedEventTest, AWakeUpThatCrossesACancellationFindsNobody) {
  SharedEvent event(SharedEvent::State::kReset);
  int woken = 0;
  int cancelled = 0;
  Scope scope(reactor());
  scope.spawn("waiter", wait_for(event, woken, cancelled));
  event.set();
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(woken + cancelled, 1);
  settle();
}

TEST_P(SharedEventTest, NobodyIsWokenForAWaitThatWasCancelled) {
  SharedEvent event(SharedEvent::State::kReset);
  int woken = 0;
  int cancelled = 0;
  Scope scope(reactor());
  scope.spawn("waiter", wait_for(event, woken, cancelled));
  settle();
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(cancelled, 1);
  settle();
  event.set();
  EXPECT_FALSE(reactor().run_once(0)) << "work was posted for it";
}

class AcrossThreadsTest : public testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(AcrossThreadsTest);

// Waits for its own event, and then sets the other task's.
Task<void> take_turns(SharedEvent& mine, SharedEvent& theirs, int times, int& taken) {
  for (int i = 0; i < times; ++i) {
    EXPECT_TRUE(co_await mine.wait());
    mine.reset();
    ++taken;
    theirs.set();
  }
}

TEST_P(AcrossThreadsTest, EventsPassATurnBetweenTwoReactors) {
  auto thread = start_thread("other");
  SharedEvent here_may(SharedEvent::State::kSet);
  SharedEvent there_may(SharedEvent::State::kReset);
  int taken = 0;
  Scope scope(reactor());
  scope.spawn("here", take_turns(here_may, there_may, 1000, taken));
  scope.spawn("there", run_on(thread->data_reactor(), "there", take_turns(there_may, here_may, 1000, taken)));
  run(scope.join());
  EXPECT_EQ(taken, 2000);
}

constexpr int kMeetings = 2000;

Task<void> set_when_waited_for(SharedEvent& event, testing::Meeting& meeting) {
  for (int number = 1; number <= kMeetings; ++number) {
    meeting.await_begin(number);
    event.set();
    meeting.await_end(number);
  }
  co_return;
}

Task<void> wait_again_and_again(SharedEvent& event, testing::Meeting& meeting) {
  for (int number = 1; number <= kMeetings; ++number) {
    event.reset();
    meeting.begin(number);
    EXPECT_TRUE(co_await event.wait());
    meeting.end(number);
  }
}

TEST_P(AcrossThreadsTest, AnEventThatIsSetWhileSomebodyBeginsToWaitIsNotMissed) {
  auto thread = start_thread("other");
  SharedEvent event(SharedEvent::State::kReset);
  testing::Meeting meeting;
  Scope scope(reactor());
  scope.spawn("there", run_on(thread->data_reactor(), "there", set_when_waited_for(event, meeting)));
  scope.spawn("here", wait_again_and_again(event, meeting));
  run(scope.join());
}

}  // namespace
}  // namespace blockexport::aio
