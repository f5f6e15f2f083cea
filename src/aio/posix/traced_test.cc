#include "aio/posix/traced.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio/reactor/reactor.h"

namespace blockexport::aio::posix {
namespace {

constexpr int kTraced = 10;
constexpr int kNotTraced = 11;
constexpr int kCannotBeTraced = 12;

// The result of is_traced() in a child process, which is traced if `traced`.
int seen_by_a_child(bool traced) {
  pid_t child = fork();
  if (child == 0) {
    if (traced && ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(kCannotBeTraced);
    _exit(is_traced() ? kTraced : kNotTraced);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

TEST(Traced, AThreadKnowsWhetherItIsTraced) {
  int seen = seen_by_a_child(true);
  if (seen == kCannotBeTraced) GTEST_SKIP() << "this system allows no tracing";
  EXPECT_EQ(seen, kTraced);
  // A tracer of this test traces its children too.
  if (!is_traced()) EXPECT_EQ(seen_by_a_child(false), kNotTraced);
}

TEST(TimesWaited, AThreadThatSleptHasWaited) {
  if (is_traced()) GTEST_SKIP() << "what stops this test is not known from what it waits for";
  Log log("aio_test", 2, LogLevel::kError);
  auto reactor = Reactor::create({.backend = BackendKind::kEpoll}, log);
  ASSERT_TRUE(reactor.has_value());
  std::uint64_t before = (*reactor)->times_waited();
  poll(nullptr, 0, 1);
  EXPECT_TRUE((*reactor)->has_waited_since(before));
}

}  // namespace
}  // namespace blockexport::aio::posix
