#include "aio/sync/scope.h"

#include <gtest/gtest.h>
#include <poll.h>

#include "aio/task/current.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class ScopeTest : public testing::ForEachBackend {};
BLOCKEXPORT_FOR_EACH_BACKEND(ScopeTest);

Task<void> count_after_turns(int turns, int& count) {
  for (int i = 0; i < turns; ++i) co_await next_turn();
  ++count;
}

Task<void> spawn_and_join(Reactor& reactor, int& count, int& at_join) {
  Scope scope(reactor);
  for (int i = 0; i < 10; ++i) scope.spawn("child", count_after_turns(i, count));
  co_await scope.join();
  at_join = count;
}

TEST_P(ScopeTest, JoinWaitsForEveryTask) {
  int count = 0;
  int at_join = 0;
  run(spawn_and_join(reactor(), count, at_join));
  EXPECT_EQ(at_join, 10);
}

TEST_P(ScopeTest, JoinOfAnEmptyScopeReturnsAtOnce) {
  Scope scope(reactor());
  run(scope.join());
  EXPECT_EQ(scope.size(), 0u);
}

Task<void> sleep_for_long(Reactor& reactor, IoResult& result) {
  result = co_await reactor.sleep_until(reactor.now_ns() + 3'600'000'000'000);
}

Task<void> cancel_sleeper(Reactor& reactor, IoResult& result) {
  Scope scope(reactor);
  scope.spawn("sleeper", sleep_for_long(reactor, result));
  scope.cancel();
  co_await scope.join();
}

TEST_P(ScopeTest, CancelEndsASleep) {
  IoResult result;
  run(cancel_sleeper(reactor(), result));
  EXPECT_EQ(result, IoResult(fail(ECANCELED)));
}

Task<void> poll_for_input(Reactor& reactor, int fd, std::expected<std::uint32_t, Errno>& result) {
  result = co_await reactor.poll(fd, POLLIN);
}

Task<void> cancel_poller(Reactor& reactor, int fd, int turns, std::expected<std::uint32_t, Errno>& result) {
  Scope scope(reactor);
  scope.spawn("poller", poll_for_input(reactor, fd, result));
  for (int i = 0; i < turns; ++i) co_await next_turn();
  scope.cancel();
  co_await scope.join();
}

TEST_P(ScopeTest, CancelEndsAPollBeforeAndAfterTheKernelHasSeenIt) {
  auto [one, other] = make_socket_pair();
  for (int turns : {0, 1, 5}) {
    std::expected<std::uint32_t, Errno> result;
    run(cancel_poller(reactor(), one, turns, result));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error(), Errno(ECANCELED));
  }
  reactor().close_now(one);
  reactor().close_now(other);
}

Task<void> spawn_cancelled(Reactor& reactor, int fd, std::expected<std::uint32_t, Errno>& result) {
  Scope scope(reactor);
  scope.cancel();
  scope.spawn("late", poll_for_input(reactor, fd, result));
  co_await scope.join();
}

TEST_P(ScopeTest, ATaskSpawnedAfterCancelIsCancelledFromBirth) {
  auto [one, other] = make_socket_pair();
  std::expected<std::uint32_t, Errno> result;
  run(spawn_cancelled(reactor(), one, result));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error(), Errno(ECANCELED));
  reactor().close_now(one);
  reactor().close_now(other);
}

Task<void> join_inner(Scope& inner, bool& joined) {
  co_await inner.join();
  joined = inner.size() == 0;
}

Task<void> cancel_joiner(Reactor& reactor, bool& joined, int& count) {
  Scope inner(reactor);
  Scope outer(reactor);
  inner.spawn("slow", count_after_turns(20, count));
  outer.spawn("joiner", join_inner(inner, joined));
  outer.cancel();
  co_await outer.join();
}

TEST_P(ScopeTest, CancelDoesNotCutAJoinShort) {
  bool joined = false;
  int count = 0;
  run(cancel_joiner(reactor(), joined, count));
  EXPECT_TRUE(joined);
  EXPECT_EQ(count, 1);
}

Task<void> list_tasks(Reactor& reactor, std::vector<std::string>& names, std::uint32_t& line) {
  Scope scope(reactor);
  IoResult result;
  scope.spawn("sleeper", sleep_for_long(reactor, result));
  for (TaskRoot& root : reactor.tasks()) {
    names.emplace_back(root.name);
    line = root.where.line();
  }
  scope.cancel();
  co_await scope.join();
}

TEST_P(ScopeTest, TheReactorListsTasksAndWhereTheyWait) {
  std::vector<std::string> names;
  std::uint32_t line = 0;
  run(list_tasks(reactor(), names, line));
  EXPECT_EQ(names, (std::vector<std::string>{"test", "sleeper"}));
  EXPECT_GT(line, 0u);
}

}  // namespace
}  // namespace blockexport::aio
