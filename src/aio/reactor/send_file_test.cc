// Tests of sending from a file's page cache, on every backend.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <string>

#include "aio/posix/seen_windows.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class SendFileTest : public testing::ForEachBackend {
 protected:
  static constexpr std::size_t kBytes = 700'000;

  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    for (std::size_t i = 0; i < kBytes; ++i) content_[i] = static_cast<char>('a' + (i ^ i >> 8) % 26);
    path_ = make_file(content_);
    run(open_file());
    std::tie(one_, other_) = make_socket_pair();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    for (int fd : {one_, other_}) reactor().close_now(fd);
    reactor().close_file(file_);
  }
  Task<void> open_file() {
    auto fd = co_await reactor().open(path_.c_str(), O_RDWR);
    EXPECT_TRUE(fd.has_value());
    file_ = fd.value_or(-1);
  }
  IoCount try_send(std::string_view head, std::uint64_t offset, std::uint64_t length) {
    iovec vector{.iov_base = const_cast<char*>(head.data()), .iov_len = head.size()};
    std::span<const iovec> vectors(&vector, head.empty() ? 0 : 1);
    return reactor().try_send_file(one_, vectors, file_, offset, length);
  }
  // Sends everything, in as many calls as needed.
  Task<void> send(std::string head, std::uint64_t offset, std::uint64_t length) {
    while (!head.empty() || length > 0) {
      IoCount sent = try_send(head, offset, length);
      if (!sent) {
        EXPECT_EQ(sent.error(), Errno(EAGAIN));
        if (sent.error() != Errno(EAGAIN) || !co_await reactor().poll(one_, POLLOUT)) co_return;
        continue;
      }
      std::size_t of_head = std::min(head.size(), *sent);
      head.erase(0, of_head);
      offset += *sent - of_head;
      length -= *sent - of_head;
    }
  }
  Task<void> receive(std::size_t length, std::string& out) {
    char buffer[10000];
    while (out.size() < length) {
      IoCount count = reactor().try_receive(other_, std::as_writable_bytes(std::span(buffer)));
      if (count && *count > 0) {
        out.append(buffer, *count);
      } else if (count || !co_await reactor().poll(other_, POLLIN)) {
        co_return;
      }
    }
  }
  Task<void> send_and_receive(std::string head, std::uint64_t offset, std::uint64_t length, std::string& out) {
    Scope scope(reactor());
    scope.spawn("send", send(head, offset, length));
    scope.spawn("receive", receive(head.size() + length, out));
    co_await scope.join();
  }

  std::string content_ = std::string(kBytes, '\0');
  std::string path_;
  int file_ = -1;
  int one_ = -1;
  int other_ = -1;
};
BLOCKEXPORT_FOR_EACH_BACKEND(SendFileTest);

TEST_P(SendFileTest, TheHeadComesFirstAndThenTheFile) {
  std::string got;
  run(send_and_receive("a head", 5, kBytes - 10, got));
  EXPECT_TRUE(got == "a head" + content_.substr(5, kBytes - 10)) << got.size();
}

TEST_P(SendFileTest, WithoutAHeadOnlyTheFile) {
  std::string got;
  run(send_and_receive("", kBytes - 1000, 1000, got));
  EXPECT_EQ(got, content_.substr(kBytes - 1000));
}

TEST_P(SendFileTest, WhoDoesNotReadStopsIt) {
  IoCount sent;
  std::uint64_t total = 0;
  while ((sent = try_send("", 0, kBytes)) && total < (64u << 20)) total += *sent;
  EXPECT_EQ(sent, IoCount(fail(EAGAIN)));
}

TEST_P(SendFileTest, AFileThatEndsSoonerGivesWhatItHasAndThenNoData) {
  std::string got;
  run(send_and_receive("", kBytes - 10, 10, got));
  EXPECT_EQ(try_send("", kBytes, 10), IoCount(fail(ENODATA)));
  EXPECT_EQ(try_send("head", kBytes, 10), IoCount(4));
}

TEST_P(SendFileTest, APeerThatIsGoneIsAnError) {
  reactor().shut_down(one_);
  EXPECT_EQ(try_send("", 0, 10), IoCount(fail(EPIPE)));
}

TEST_P(SendFileTest, WhatWasJustWrittenIsCachedAndWhatIsNotThereIsNot) {
  bool cached = false;
  // The simulation answers false at random; an old kernel always does.
  for (int i = 0; i < 100 && !cached; ++i) cached = reactor().is_cached(file_, 100, kBytes - 100);
  if (!cached) GTEST_SKIP() << "the kernel does not tell what is in the page cache";
  EXPECT_FALSE(reactor().is_cached(other_, 0, 10));
  if (simulated()) return;
  EXPECT_TRUE(reactor().is_cached(file_, kBytes - 1, 1));
  EXPECT_FALSE(reactor().is_cached(file_, 100, kBytes + 100'000));
  EXPECT_EQ(posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED), 0);
}

TEST_P(SendFileTest, WhatWasCutOffIsNotCachedEvenIfItWasAMomentAgo) {
  if (simulated()) GTEST_SKIP() << "the simulation caches no answers of the kernel";
  constexpr off_t kWindowBytes = 8 << 20;
  std::vector<char> data(kWindowBytes);
  ASSERT_EQ(pwrite(file_, data.data(), data.size(), 0), kWindowBytes);
  bool cached = false;
  for (int i = 0; i < 100 && !cached; ++i) cached = reactor().is_cached(file_, 0, 100);
  if (!cached) GTEST_SKIP() << "the kernel does not tell what is in the page cache";
  ASSERT_EQ(ftruncate(file_, 4096), 0);
  EXPECT_FALSE(reactor().is_cached(file_, 4096, 100));
  EXPECT_FALSE(reactor().is_cached(file_, 0, 4097));
}

TEST(SeenWindows, BelievesWhatItSawForAMoment) {
  posix::SeenWindows seen;
  seen.add(5, 1000, 2000, 10);
  EXPECT_TRUE(seen.holds(5, 1000, 2000, 10));
  EXPECT_TRUE(seen.holds(5, 1500, 1600, 9 + posix::SeenWindows::kValidNs));
  EXPECT_FALSE(seen.holds(5, 1500, 1600, 10 + posix::SeenWindows::kValidNs));
  EXPECT_FALSE(seen.holds(5, 999, 2000, 10));
  EXPECT_FALSE(seen.holds(5, 1000, 2001, 10));
  EXPECT_FALSE(seen.holds(6, 1000, 2000, 10));
  for (int other = 0; other < 16; ++other) seen.add(7, 0, 1, 10);
  EXPECT_FALSE(seen.holds(5, 1000, 2000, 10));
}

}  // namespace
}  // namespace blockexport::aio
