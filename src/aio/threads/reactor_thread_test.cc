// Reactor threads, tasks that run on another reactor, and the assignment of clients to reactors.
#include "aio/threads/reactor_thread.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "aio/task/current.h"
#include "aio/testing/threads.h"
#include "aio/threads/reactor_pool.h"

namespace blockexport::aio {
namespace {

class ReactorThreadTest : public testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(ReactorThreadTest);

struct Visit {
  std::thread::id thread;
  Reactor* reactor = nullptr;
  bool cancelled = false;
};

Task<void> visit(Visit& seen) {
  seen.thread = std::this_thread::get_id();
  seen.reactor = &co_await current_reactor();
  (void)co_await seen.reactor->sleep_until(seen.reactor->now_ns() + 1'000'000);
  EXPECT_EQ(seen.thread, std::this_thread::get_id());
}

TEST_P(ReactorThreadTest, RunsATaskThereAndGoesOnHere) {
  auto thread = start_thread("there");
  EXPECT_EQ(thread->data_reactor().reactor.backend_name(), reactor().backend_name());
  Visit seen;
  std::thread::id after;
  auto there_and_back = [](DataReactor& data_reactor, Visit& visited, std::thread::id& returned) -> Task<void> {
    Task<void> task = visit(visited);
    co_await run_on(data_reactor, "visit", std::move(task));
    returned = std::this_thread::get_id();
  };
  run(there_and_back(thread->data_reactor(), seen, after));
  EXPECT_EQ(seen.reactor, &thread->data_reactor().reactor);
  EXPECT_NE(seen.thread, std::this_thread::get_id());
  EXPECT_EQ(after, std::this_thread::get_id());
}

TEST_P(ReactorThreadTest, OnTheSameReactorItIsAPlainAwait) {
  Visit seen;
  run(run_on(here(), "visit", visit(seen)));
  EXPECT_EQ(seen.reactor, &reactor());
  EXPECT_EQ(here().scope.size(), 0u);
}

// The system's name of the thread of `data_reactor`.
std::string system_name(ReactorThread& thread, Reactor& here) {
  std::array<char, 64> name{};
  auto ask = [](std::array<char, 64>& told) -> Task<void> {
    EXPECT_EQ(pthread_getname_np(pthread_self(), told.data(), told.size()), 0);
    co_return;
  };
  auto there = [](DataReactor& data_reactor, Task<void> task) -> Task<void> {
    co_await run_on(data_reactor, "name", std::move(task));
  };
  testing::run(here, there(thread.data_reactor(), ask(name)));
  return name.data();
}

TEST_P(ReactorThreadTest, TheSystemKnowsAsMuchOfItsNameAsItTakes) {
  const std::string fits = "fifteen letters";
  ASSERT_EQ(fits.size(), 15u);
  EXPECT_EQ(system_name(*start_thread(fits), reactor()), fits);
  auto longer = start_thread(fits + "!");
  EXPECT_EQ(longer->name(), fits + "!");
  EXPECT_EQ(system_name(*longer, reactor()), fits);
}

// Records the thread of its destructor.
struct Witness {
  explicit Witness(Visit& of) : seen(&of) {}
  Witness(Witness&& other) noexcept : seen(std::exchange(other.seen, nullptr)) {}
  ~Witness() {
    if (seen != nullptr) seen->thread = std::this_thread::get_id();
  }
  Visit* seen;
};

Task<void> hold(Witness) {
  co_await next_turn();
}

TEST_P(ReactorThreadTest, NothingOfTheTaskIsLeftWhenItHasEnded) {
  auto thread = start_thread("there");
  auto check = [](DataReactor& data_reactor) -> Task<void> {
    Visit seen;
    Task<void> task = hold(Witness(seen));
    co_await run_on(data_reactor, "hold", std::move(task));
    EXPECT_NE(seen.thread, std::thread::id());
    EXPECT_NE(seen.thread, std::this_thread::get_id());
  };
  run(check(thread->data_reactor()));
}

Task<void> go_back_and_forth(DataReactor& there, int times, int& count) {
  for (int i = 0; i < times; ++i) {
    Task<void> task = [](int& counted) -> Task<void> {
      ++counted;
      co_return;
    }(count);
    co_await run_on(there, "count", std::move(task));
  }
}

TEST_P(ReactorThreadTest, ManyTasksGoBackAndForth) {
  auto first = start_thread("first");
  auto second = start_thread("second");
  std::vector<int> counts(8);
  Scope scope(reactor());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    DataReactor& there = i % 2 == 0 ? first->data_reactor() : second->data_reactor();
    scope.spawn("traveller", go_back_and_forth(there, 500, counts[i]));
  }
  run(scope.join());
  EXPECT_EQ(counts, std::vector<int>(8, 500));
}

TEST_P(ReactorThreadTest, WhoPostsTheLastWorkMayEndTheThreadAtOnce) {
  for (int i = 0; i < 50; ++i) {
    int ran = 0;
    auto thread = start_thread("short");
    thread->data_reactor().reactor.post([&ran] { ++ran; });
    thread.reset();
    EXPECT_EQ(ran, 1);
  }
}

class ReactorPoolTest : public testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(ReactorPoolTest);

std::size_t count_of(ReactorPool& pool) {
  std::size_t count = 0;
  pool.for_each([&](const std::string&, DataReactor&) { ++count; });
  return count;
}

TEST_P(ReactorPoolTest, TheFirstIsServedHereAndNoThreadIsStarted) {
  ReactorPool pool(here(), options(), log(), 4);
  {
    ReactorPool::Assignment assignment = pool.assign();
    EXPECT_EQ(&assignment.data_reactor(), &here());
  }
  ReactorPool::Assignment again = pool.assign();
  EXPECT_EQ(&again.data_reactor(), &here());
  EXPECT_EQ(count_of(pool), 1u);
}

TEST_P(ReactorPoolTest, EachGetsTheReactorWithTheFewest) {
  ReactorPool pool(here(), options(), log(), 2);
  ReactorPool::Assignment first = pool.assign();
  std::optional<ReactorPool::Assignment> second = pool.assign();
  DataReactor* other = &second->data_reactor();
  EXPECT_NE(other, &here());
  ReactorPool::Assignment third = pool.assign();
  ReactorPool::Assignment fourth = pool.assign();
  EXPECT_EQ(&third.data_reactor(), &here());
  EXPECT_EQ(&fourth.data_reactor(), other);
  second.reset();
  ReactorPool::Assignment fifth = pool.assign();
  EXPECT_EQ(&fifth.data_reactor(), other);
  EXPECT_EQ(count_of(pool), 2u);
}

TEST_P(ReactorPoolTest, AnAssignmentCountsUntilItIsDestroyed) {
  EXPECT_EQ(here().client_count, 0u);
  {
    ReactorPool::Assignment own(here());
    ReactorPool::Assignment moved(std::move(own));
    EXPECT_EQ(&moved.data_reactor(), &here());
    EXPECT_EQ(here().client_count, 1u);
  }
  EXPECT_EQ(here().client_count, 0u);
}

TEST_P(ReactorPoolTest, AssignAmongChoosesTheReactorWithFewestClients) {
  auto one = start_thread("one");
  auto two = start_thread("two");
  DataReactor* const both[] = {&one->data_reactor(), &two->data_reactor()};
  std::optional<ReactorPool::Assignment> alone(ReactorPool::assign_among({both, 1}));
  EXPECT_EQ(&alone->data_reactor(), both[0]);
  // The client of the first assignment counts, although it came from another list.
  ReactorPool::Assignment second = ReactorPool::assign_among(both);
  EXPECT_EQ(&second.data_reactor(), both[1]);
  alone.reset();
  ReactorPool::Assignment third = ReactorPool::assign_among(both);
  EXPECT_EQ(&third.data_reactor(), both[0]);
}

}  // namespace
}  // namespace blockexport::aio
