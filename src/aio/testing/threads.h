// WithThreads: a GoogleTest fixture for code that runs on several threads: the test's own reactor, and threads with one
// reactor each, on io_uring and epoll. A backend that the system refuses is skipped. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "aio/testing/backends.h"
#include "aio/threads/reactor_thread.h"

namespace blockexport::aio::testing {

class WithThreads : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    options_.backend = std::string_view(GetParam()) == "epoll" ? BackendKind::kEpoll : BackendKind::kIoUring;
    auto made = Reactor::create(options_, log_);
    if (!made) GTEST_SKIP() << made.error().message();
    reactor_ = std::move(*made);
    here_.emplace(*reactor_);
  }

  Reactor& reactor() { return *reactor_; }
  DataReactor& here() { return *here_; }
  const ReactorOptions& options() const { return options_; }
  const Log& log() const { return log_; }
  void run(Task<void> task) { testing::run(*reactor_, std::move(task)); }

  std::unique_ptr<ReactorThread> start_thread(std::string name) {
    auto thread = ReactorThread::start(std::move(name), options_, log_);
    if (!thread) std::abort();
    return std::move(*thread);
  }

 private:
  Log log_{"test", 2, LogLevel::kError};
  ReactorOptions options_;
  std::unique_ptr<Reactor> reactor_;
  std::optional<DataReactor> here_;
};

// Synchronises two threads round by round, so that one acts during a short operation of the other. The moment shifts a
// little in each round.
class Meeting {
 public:
  // For the acting thread: waits until the other has begun round `number`, and a little longer.
  void await_begin(int number) const {
    while (begun_.load() < number) std::this_thread::yield();
    for (int i = 0; i < number % 128; ++i) (void)begun_.load();
  }
  void await_end(int number) const {
    while (ended_.load() < number) std::this_thread::yield();
  }
  // For the other thread.
  void begin(int number) { begun_ = number; }
  void end(int number) { ended_ = number; }

 private:
  std::atomic<int> begun_ = 0;
  std::atomic<int> ended_ = 0;
};

}  // namespace blockexport::aio::testing

#define BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(suite)                                \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::Values("io_uring", "epoll"), \
                           [](const auto& info) { return std::string(info.param); })
