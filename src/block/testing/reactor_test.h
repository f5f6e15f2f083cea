// ReactorTest: a GoogleTest fixture with a reactor, and functions that run a task on it to its end.
//
// For tests of block/ and of the folders above it. run() gives a task 20 seconds of real time, then fails the test
// program: a task that never ends cannot be abandoned.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "base/clock.h"
#include "base/log.h"

namespace blockexport::block {

class ReactorTest : public testing::Test {
 protected:
  ReactorTest()
      : log_("test", 2, LogLevel::kWarning), simulation_(1), reactor_(make(simulation_, log_)), scope_(*reactor_) {}

  aio::Reactor& reactor() { return *reactor_; }

  // Runs `task` to its end and returns its result.
  template <class T>
  T run(aio::Task<T> task) {
    std::optional<T> result;
    scope_.spawn("test", keep(std::move(task), result));
    until_idle();
    return std::move(*result);
  }
  void run(aio::Task<void> task) {
    scope_.spawn("test", std::move(task));
    until_idle();
  }

  // Starts `task`; it progresses during run() and until_idle().
  void start(aio::Task<void> task) { scope_.spawn("test", std::move(task)); }

  // Runs until no task is left.
  void until_idle() {
    // In real time: a simulation's clock runs faster while a thread works in the background.
    SystemClock real;
    std::uint64_t deadline_ns = real.now_ns() + 100'000'000'000;
    while (scope_.size() > 0) {
      reactor_->run_once(100'000'000);
      if (real.now_ns() < deadline_ns) continue;
      std::fputs("a test's task did not end in time\n", stderr);
      std::abort();
    }
  }

 private:
  // The kind that the environment selects; ctest runs a program once for each kind.
  static std::unique_ptr<aio::Reactor> make(aio::Simulation& simulation, const Log& log) {
    const char* wanted = std::getenv("BLOCKEXPORT_TEST_BACKEND");
    std::string_view name = wanted == nullptr ? "epoll" : wanted;
    if (name == "simulation") return simulation.make_reactor();
    aio::BackendKind backend = name == "io_uring" ? aio::BackendKind::kAuto : aio::BackendKind::kEpoll;
    auto reactor = aio::Reactor::create({.backend = backend}, log);
    if (reactor) return std::move(*reactor);
    std::fputs(reactor.error().message().c_str(), stderr);
    std::abort();
  }
  template <class T>
  static aio::Task<void> keep(aio::Task<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
  }

  Log log_;
  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_;
  aio::Scope scope_;
};

}  // namespace blockexport::block
