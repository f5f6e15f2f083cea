#include "aio/file/file_content.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "aio/sync/scope.h"
#include "aio/sync/with_deadline.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kShortNs = 20'000'000;

class FileContentTest : public testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  Task<void> read_into(std::string path, std::uint64_t limit_ns, IoCount& count) {
    count = co_await read_file_until(reactor(), std::move(path), buffer_, deadline_after(reactor(), limit_ns));
  }
  Task<IoCount> read(std::string path, std::uint64_t limit_ns = UINT64_MAX) {
    IoCount count = fail(EINVAL);
    co_await read_into(std::move(path), limit_ns, count);
    co_return count;
  }
  std::string_view text(std::size_t size) const { return {reinterpret_cast<const char*>(buffer_.data()), size}; }
  std::string make_pipe() {
    std::string path = directory_.path() + "/pipe";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  static void put(int fd, std::string_view bytes) {
    EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  std::array<std::byte, 100> buffer_{};
  testing::TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(Backends, FileContentTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(FileContentTest, AFileIsReadToItsEndOrToTheEndOfTheRoom) {
  EXPECT_EQ(text((co_await read(make_file("some text"))).value_or(0)), "some text");
  EXPECT_EQ((co_await read(make_file(std::string(200, 'x')))).value_or(0), buffer_.size());
  EXPECT_EQ((co_await read(make_file(""))).value_or(1), 0u);
}

TASK_TEST_P(FileContentTest, WhatCannotBeReadSaysWhy) {
  EXPECT_EQ((co_await read(directory_.path() + "/none")).error(), Errno(ENOENT));
  EXPECT_EQ((co_await read(directory_.path())).error(), Errno(EISDIR));
}

TASK_TEST_P(FileContentTest, APipeIsReadUntilItsWriterHasClosedIt) {
  const std::string path = make_pipe();
  IoCount count = fail(EINVAL);
  Scope scope(reactor());
  scope.spawn("read", read_into(path, UINT64_MAX, count));
  OwnedFd writer;
  // The open fails until the pipe has a reader.
  co_await testing::until(reactor(), [&] {
    writer = OwnedFd(::open(path.c_str(), O_WRONLY | O_NONBLOCK));
    return writer.get() >= 0;
  });
  put(writer.get(), "one ");
  (void)co_await reactor().sleep_until(reactor().now_ns() + kShortNs);
  put(writer.get(), "two");
  writer.reset();
  co_await scope.join();
  EXPECT_EQ(text(count.value_or(0)), "one two");
}

TASK_TEST_P(FileContentTest, APipeThatNobodyWritesToIsGivenUpAtTheDeadline) {
  const std::string path = make_pipe();
  EXPECT_EQ((co_await read(path, kShortNs)).error(), Errno(ETIMEDOUT));
  // The same for a pipe whose writer sends nothing.
  OwnedFd silent(::open(path.c_str(), O_RDWR | O_NONBLOCK));
  EXPECT_EQ((co_await read(path, kShortNs)).error(), Errno(ETIMEDOUT));
}

TASK_TEST_P(FileContentTest, ReadingEndsWithItsTask) {
  IoCount count = fail(EINVAL);
  Scope scope(reactor());
  scope.spawn("read", read_into(make_pipe(), UINT64_MAX, count));
  (void)co_await reactor().sleep_until(reactor().now_ns() + kShortNs);
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(count.error(), Errno(ECANCELED));
}

}  // namespace
}  // namespace blockexport::aio
