// Abandoned operations: a task stops waiting for an open or a call that hangs, and other work is not delayed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <semaphore>
#include <vector>

#include "aio/posix/worker_pool.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

using posix::kAbandonedCallsMax;

// A call in which a worker hangs until the test releases it.
struct Hanging {
  std::binary_semaphore let_go{0};
  std::atomic<int> begun = 0;
  std::atomic<int>* destroyed = nullptr;

  ~Hanging() {
    if (destroyed != nullptr) ++*destroyed;
  }
  static std::int64_t hang(void* self) {
    auto& hanging = *static_cast<Hanging*>(self);
    ++hanging.begun;
    hanging.let_go.acquire();
    return 0;
  }
};

class AbandonedCallsTest : public testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  std::string make_pipe() {
    std::string path = directory_.path() + "/pipe" + std::to_string(++pipes_);
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  Task<void> open_into(std::string path, int flags, std::expected<int, Errno>& fd) {
    fd = co_await reactor().open(path.c_str(), flags);
  }
  Task<void> call_into(std::shared_ptr<Hanging> hanging, std::expected<std::int64_t, Errno>& result) {
    std::shared_ptr<void> argument = hanging;
    hanging.reset();
    result = co_await reactor().call_abandonably(Hanging::hang, argument);
  }
  static std::size_t open_descriptors() {
    auto listed = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(listed), end(listed)));
  }

  testing::TemporaryDirectory directory_;
  int pipes_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Backends, AbandonedCallsTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(AbandonedCallsTest, OpeningThatHangsCanBeCancelledAndWhatItOpensLaterIsClosed) {
  const std::string path = make_pipe();
  std::expected<int, Errno> fd = fail(EINVAL);
  const std::size_t before = open_descriptors();
  Scope scope(reactor());
  // The open waits for a writer of the pipe.
  scope.spawn("open", open_into(path, O_RDONLY, fd));
  (void)co_await reactor().sleep_until(reactor().now_ns() + 50'000'000);
  EXPECT_EQ(scope.size(), 1u);
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(fd.error(), Errno(ECANCELED));
  OwnedFd writer(::open(path.c_str(), O_RDWR | O_NONBLOCK));
  co_await testing::until(reactor(), [&] { return !reactor().has_abandoned_calls(); });
  writer.reset();
  EXPECT_EQ(open_descriptors(), before);
}

TASK_TEST_P(AbandonedCallsTest, ACallThatWasGivenUpKeepsItsArgumentUntilItReturns) {
  std::atomic<int> destroyed = 0;
  auto hanging = std::make_shared<Hanging>();
  hanging->destroyed = &destroyed;
  Hanging& inside = *hanging;
  std::expected<std::int64_t, Errno> result = 0;
  Scope scope(reactor());
  scope.spawn("call", call_into(std::move(hanging), result));
  co_await testing::until(reactor(), [&] { return inside.begun == 1; });
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(result.error(), Errno(ECANCELED));
  EXPECT_TRUE(reactor().has_abandoned_calls());
  EXPECT_EQ(destroyed, 0);
  inside.let_go.release();
  co_await testing::until(reactor(), [&] { return destroyed == 1; });
  EXPECT_FALSE(reactor().has_abandoned_calls());
}

TASK_TEST_P(AbandonedCallsTest, OneThatWaitsForAWorkerIsNeverBegun) {
  const std::uint32_t workers = ReactorOptions().worker_threads_max;
  std::vector<std::shared_ptr<Hanging>> all;
  std::vector<std::expected<std::int64_t, Errno>> results(workers + 1, 0);
  Scope running(reactor());
  for (std::uint32_t i = 0; i < workers; ++i) {
    all.push_back(std::make_shared<Hanging>());
    running.spawn("call", call_into(all.back(), results[i]));
  }
  Scope waiting(reactor());
  auto last = std::make_shared<Hanging>();
  waiting.spawn("call", call_into(last, results[workers]));
  waiting.cancel();
  co_await waiting.join();
  EXPECT_EQ(results[workers].error(), Errno(ECANCELED));
  EXPECT_EQ(last->begun, 0);
  for (auto& one : all) one->let_go.release();
  co_await running.join();
}

TASK_TEST_P(AbandonedCallsTest, OthersAreServedWhateverHangsAndNoMoreMayHang) {
  const std::string path = make_file("content");
  std::vector<std::shared_ptr<Hanging>> all;
  std::vector<std::expected<std::int64_t, Errno>> results(kAbandonedCallsMax, 0);
  for (auto& result : results) {
    Scope scope(reactor());
    all.push_back(std::make_shared<Hanging>());
    scope.spawn("call", call_into(all.back(), result));
    co_await testing::until(reactor(), [&] { return all.back()->begun == 1; });
    scope.cancel();
    co_await scope.join();
  }
  std::expected<std::int64_t, Errno> refused = 0;
  Scope scope(reactor());
  scope.spawn("call", call_into(std::make_shared<Hanging>(), refused));
  co_await scope.join();
  EXPECT_EQ(refused.error(), Errno(EAGAIN));
  // The full number of workers is left for other calls.
  const std::uint32_t workers = ReactorOptions().worker_threads_max;
  std::vector<std::unique_ptr<Hanging>> busy;
  Scope others(reactor());
  for (std::uint32_t i = 0; i < workers; ++i) {
    busy.push_back(std::make_unique<Hanging>());
    auto call = [](Reactor& on, Hanging& hanging) -> Task<void> { (void)co_await on.call(Hanging::hang, &hanging); };
    others.spawn("busy", call(reactor(), *busy.back()));
  }
  for (auto& one : busy) {
    co_await testing::until(reactor(), [&] { return one->begun == 1; });
    one->let_go.release();
  }
  co_await others.join();
  for (auto& one : all) one->let_go.release();
  co_await testing::until(reactor(), [&] { return !reactor().has_abandoned_calls(); });
  auto fd = co_await reactor().open(path.c_str(), O_RDONLY);
  EXPECT_TRUE(fd.has_value());
  if (fd) reactor().close_now(*fd);
}

}  // namespace
}  // namespace blockexport::aio
