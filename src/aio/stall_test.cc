// What is said when something keeps the loop from turning. Real time is used: the report is about real time.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "aio/current.h"
#include "aio/reactor.h"
#include "aio/scope.h"
#include "aio/testing/backends.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

// Long enough that a busy machine does not make a stall of its own.
constexpr std::uint64_t kLimitNs = 100'000'000;
constexpr std::chrono::milliseconds kHold(120);

class StallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    reading_ = OwnedFd(ends[0]);
    writing_ = OwnedFd(ends[1]);
    log_.emplace("test", writing_.get(), LogLevel::kInfo);
    ReactorOptions options;
    options.backend = BackendKind::kEpoll;
    options.stall_report_ns = kLimitNs;
    auto made = Reactor::create(options, *log_);
    ASSERT_TRUE(made.has_value());
    reactor_ = std::move(*made);
  }

  // Everything said so far; to be called once.
  std::string said() {
    writing_.reset();
    std::string all;
    char text[4096];
    for (ssize_t count; (count = read(reading_.get(), text, sizeof text)) > 0;) {
      all.append(text, static_cast<std::size_t>(count));
    }
    return all;
  }
  // A call that blocks.
  static void hold() { std::this_thread::sleep_for(kHold); }

  OwnedFd reading_;
  OwnedFd writing_;
  std::optional<Log> log_;
  std::unique_ptr<Reactor> reactor_;
};

template <class Work>
Task<void> after_a_turn(Work work) {
  co_await next_turn();
  work();
}

Task<void> turn_many_times(int turns) {
  for (int i = 0; i < turns; ++i) co_await next_turn();
}

TEST_F(StallTest, TheTaskThatHeldTheLoopIsNamed) {
  Scope scope(*reactor_);
  scope.spawn("quick", turn_many_times(2));
  scope.spawn("slow", after_a_turn([] { hold(); }));
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_NE(text.find("'slow'"), std::string::npos) << text;
  EXPECT_EQ(text.find("'quick'"), std::string::npos) << text;
}

TEST_F(StallTest, PostedWorkIsNotBlamedOnATask) {
  Scope scope(*reactor_);
  scope.spawn("innocent", turn_many_times(3));
  reactor_->post([] { hold(); });
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_EQ(text.find("'innocent'"), std::string::npos) << text;
  EXPECT_NE(text.find("'posted work'"), std::string::npos) << text;
}

TEST_F(StallTest, PostedWorkIsReportedWhenNoTaskRuns) {
  reactor_->post([] { hold(); });
  reactor_->run_once(0);
  EXPECT_NE(said().find("'posted work'"), std::string::npos);
}

TEST_F(StallTest, ManyStallsAreOneLine) {
  Scope scope(*reactor_);
  for (int i = 0; i < 3; ++i) scope.spawn("slow", after_a_turn([] { hold(); }));
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
}

TEST_F(StallTest, TimeSpentWaitingIsNoStall) {
  reactor_->run_once(kLimitNs + kLimitNs / 5);
  EXPECT_EQ(said(), "");
}

}  // namespace
}  // namespace blockexport::aio
