// Reports of tasks that hold up the event loop. The clock is a simulation's, so that a busy machine causes no stall.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "aio/operation/backend.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kLimitNs = 100'000'000;

class StallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    reading_ = OwnedFd(ends[0]);
    writing_ = OwnedFd(ends[1]);
    log_.emplace("test", writing_.get(), LogLevel::kInfo);
    ReactorOptions options;
    options.stall_report_ns = kLimitNs;
    reactor_ = simulation_.make_reactor(options, &*log_);
    simulation_.make_file("disk", 4096);
    testing::run(*reactor_, open_file());
    ASSERT_GE(file_, 0);
  }
  Task<void> open_file() { file_ = (co_await reactor_->open("disk", O_RDWR)).value_or(-1); }

  // All log lines so far; call it once.
  std::string said() {
    writing_.reset();
    std::string all;
    char text[4096];
    for (ssize_t count; (count = read(reading_.get(), text, sizeof text)) > 0;) {
      all.append(text, static_cast<std::size_t>(count));
    }
    return all;
  }
  // Blocks the loop for `duration_ns`.
  void hold(std::uint64_t duration_ns = kLimitNs + kLimitNs / 5) {
    simulation_.options().write_hold_ns = duration_ns;
    char byte = 'x';
    iovec vector{&byte, 1};
    // A simulation refuses some immediate calls at random.
    while (!reactor_->try_write(file_, std::span(&vector, 1), 0)) continue;
  }

  Simulation simulation_;
  OwnedFd reading_;
  OwnedFd writing_;
  std::optional<Log> log_;
  std::unique_ptr<Reactor> reactor_;
  int file_ = -1;
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
  scope.spawn("slow", after_a_turn([this] { hold(); }));
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_NE(text.find("'slow'"), std::string::npos) << text;
  EXPECT_EQ(text.find("'quick'"), std::string::npos) << text;
}

TEST_F(StallTest, PostedWorkIsNotBlamedOnATask) {
  Scope scope(*reactor_);
  scope.spawn("innocent", turn_many_times(3));
  reactor_->post([this] { hold(); });
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_EQ(text.find("'innocent'"), std::string::npos) << text;
  EXPECT_NE(text.find("'posted work'"), std::string::npos) << text;
}

TEST_F(StallTest, PostedWorkIsReportedWhenNoTaskRuns) {
  reactor_->post([this] { hold(); });
  reactor_->run_once(0);
  EXPECT_NE(said().find("'posted work'"), std::string::npos);
}

TEST_F(StallTest, ManyStallsAreOneLine) {
  Scope scope(*reactor_);
  for (int i = 0; i < 3; ++i) scope.spawn("slow", after_a_turn([this] { hold(); }));
  testing::run(*reactor_, scope.join());
  std::string text = said();
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
}

TEST_F(StallTest, TimeSpentWaitingIsNoStall) {
  reactor_->run_once(10 * kLimitNs);
  EXPECT_EQ(said(), "");
}

TEST_F(StallTest, WhoHoldsTheLoopForAsLongAsMayBeIsNotReported) {
  Scope scope(*reactor_);
  for (int i = 0; i < 3; ++i) scope.spawn("long", after_a_turn([this] { hold(kLimitNs); }));
  testing::run(*reactor_, scope.join());
  EXPECT_EQ(said(), "");
}

TEST_F(StallTest, WhoHoldsTheLoopForAnyLongerIsReported) {
  Scope scope(*reactor_);
  scope.spawn("longer", after_a_turn([this] { hold(kLimitNs + 1); }));
  testing::run(*reactor_, scope.join());
  EXPECT_NE(said().find("'longer'"), std::string::npos);
}

}  // namespace
}  // namespace blockexport::aio
