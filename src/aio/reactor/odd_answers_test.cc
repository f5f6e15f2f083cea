// Rare results of the kernel: short counts, interruptions, refusals, no space. On every backend an operation returns
// the result of its call, moves that many bytes and no more, and completes once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <poll.h>

#include <array>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/file_abilities.h"

namespace blockexport::aio {
namespace {

constexpr std::size_t kBlockBytes = 4096;

std::string pattern(std::size_t length, std::size_t seed) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>('a' + (i + i / 251 + seed) % 26);
  return text;
}

iovec vector_of(std::string& text) {
  return {text.data(), text.size()};
}

int errno_of(const auto& result) {
  return result ? 0 : result.error().value();
}

class OddAnswersTest : public testing::ForEachBackend {
 protected:
  // Closes all descriptors that a failed test left open.
  void TearDown() override {
    for (int fd : opened_) reactor().close_now(fd);
  }
  int open(const std::string& path, int flags = O_RDWR) {
    int fd = -1;
    run([](Reactor& on, std::string name, int how, int& opened) -> Task<void> {
      opened = (co_await on.open(name.c_str(), how)).value_or(-1);
    }(reactor(), path, flags, fd));
    if (fd >= 0) opened_.push_back(fd);
    return fd;
  }
  IoCount write(int fd, std::string text, std::uint64_t offset, bool data_sync = false) {
    IoCount result;
    run([](Reactor& on, int to, std::string& data, std::uint64_t at, bool sync, IoCount& written) -> Task<void> {
      iovec vector = vector_of(data);
      written = co_await on.write(to, std::span(&vector, 1), at, sync);
    }(reactor(), fd, text, offset, data_sync, result));
    return result;
  }
  IoCount read(int fd, std::string& text, std::uint64_t offset) {
    IoCount result;
    run([](Reactor& on, int from, std::string& data, std::uint64_t at, IoCount& got) -> Task<void> {
      std::array<iovec, 2> vectors = {iovec{data.data(), data.size() / 3},
                                      iovec{data.data() + data.size() / 3, data.size() - data.size() / 3}};
      got = co_await on.read(from, vectors, at);
    }(reactor(), fd, text, offset, result));
    return result;
  }

  std::vector<int> opened_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(OddAnswersTest);

TEST_P(OddAnswersTest, AWriteThatIsCutShortWritesThatMuchAndNoMore) {
  for (bool data_sync : {false, true}) {
    for (std::uint64_t moved : {0u, 1u, 511u, 4096u + 512u, 1u << 20}) {
      SCOPED_TRACE(::testing::Message() << moved << (data_sync ? " durable" : ""));
      const std::string before(64 << 10, '.');
      const std::string path = make_file(before);
      const int fd = open(path);
      const std::string text = pattern(16 << 10, moved);
      inject({.kind = OperationKind::kWrite, .moved_bytes = moved});
      const std::size_t expected = std::min<std::size_t>(moved, text.size());
      EXPECT_EQ(write(fd, text, 1000, data_sync), IoCount(expected));
      EXPECT_TRUE(content_of(path) ==
                  before.substr(0, 1000) + text.substr(0, expected) + before.substr(1000 + expected));
      // The next write succeeds.
      EXPECT_EQ(write(fd, text, 1000, data_sync), IoCount(text.size()));
      EXPECT_TRUE(content_of(path) == before.substr(0, 1000) + text + before.substr(1000 + text.size()));
    }
  }
}

TEST_P(OddAnswersTest, AReadThatIsCutShortLeavesTheRestOfTheMemoryAlone) {
  const std::string content = pattern(64 << 10, 3);
  const std::string path = make_file(content);
  const int fd = open(path);
  for (std::uint64_t moved : {0u, 1u, 4096u + 512u}) {
    inject({.kind = OperationKind::kRead, .moved_bytes = moved});
    std::string got(9000, '?');
    EXPECT_EQ(read(fd, got, 77), IoCount(moved));
    EXPECT_EQ(got, content.substr(77, moved) + std::string(9000 - moved, '?'));
    EXPECT_EQ(read(fd, got, 77), IoCount(9000));
    EXPECT_EQ(got, content.substr(77, 9000));
  }
}

TEST_P(OddAnswersTest, TheErrorOfAnOperationIsThatOfItsOwnCall) {
  for (int error : {ENOSPC, EDQUOT, EIO, EFBIG, EOPNOTSUPP, ENOMEM}) {
    const std::string path = make_file(std::string(3 * kBlockBytes, '.'));
    const int fd = open(path);
    inject({.kind = OperationKind::kWrite, .error = error, .after = 1});
    EXPECT_EQ(write(fd, std::string(kBlockBytes, 'a'), 0), IoCount(kBlockBytes));
    EXPECT_EQ(write(fd, std::string(kBlockBytes, 'b'), kBlockBytes), IoCount(fail(error)));
    EXPECT_EQ(write(fd, std::string(kBlockBytes, 'c'), 2 * kBlockBytes), IoCount(kBlockBytes));
    EXPECT_TRUE(content_of(path) ==
                std::string(kBlockBytes, 'a') + std::string(kBlockBytes, '.') + std::string(kBlockBytes, 'c'));
    std::string got(10, '?');
    inject({.kind = OperationKind::kRead, .error = error});
    EXPECT_EQ(read(fd, got, 0), IoCount(fail(error)));
    EXPECT_EQ(got, "??????????");
  }
}

// Appends the errors of a sync, an allocate and a truncate.
Task<void> change(Reactor& reactor, int fd, std::vector<int>& errors) {
  errors.push_back(errno_of(co_await reactor.sync(fd)));
  errors.push_back(errno_of(co_await reactor.allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBlockBytes)));
  errors.push_back(errno_of(co_await reactor.truncate(fd, 2 * kBlockBytes)));
}

TEST_P(OddAnswersTest, WhatIsRefusedChangesNothing) {
  const std::string before = pattern(3 * kBlockBytes, 1);
  const std::string path = make_file(before);
  const int fd = open(path);
  inject({.kind = OperationKind::kSync, .error = EIO});
  inject({.kind = OperationKind::kAllocate, .error = EOPNOTSUPP});
  inject({.kind = OperationKind::kTruncate, .error = EPERM});
  std::vector<int> errors;
  run(change(reactor(), fd, errors));
  EXPECT_EQ(errors, (std::vector<int>{EIO, EOPNOTSUPP, EPERM}));
  EXPECT_TRUE(content_of(path) == before);
  errors.clear();
  run(change(reactor(), fd, errors));
  EXPECT_EQ(errors, (std::vector<int>{0, 0, 0}));
  EXPECT_TRUE(content_of(path) == std::string(kBlockBytes, '\0') + before.substr(kBlockBytes, kBlockBytes));
}

TEST_P(OddAnswersTest, AnImmediateCallGivesWhatItMoved) {
  const std::string path = make_file(std::string(kBlockBytes, '.'));
  if (!simulated() && !testing::reads_without_waiting(path))
    GTEST_SKIP() << "this file system reads nothing without waiting";
  const int fd = open(path);
  std::string text = "fresh bytes";
  iovec vector = vector_of(text);
  inject({.kind = OperationKind::kWrite, .moved_bytes = 5, .immediate = true});
  inject({.kind = OperationKind::kRead, .moved_bytes = 3, .immediate = true});
  // A simulation refuses some immediate calls at random; a fault applies to the others.
  IoCount written = fail(EAGAIN);
  while (!written) written = reactor().try_write(fd, std::span(&vector, 1), 0);
  EXPECT_EQ(written, IoCount(5));
  EXPECT_EQ(content_of(path).substr(0, 11), "fresh......");
  std::string got(5, '?');
  vector = vector_of(got);
  IoCount read = fail(EAGAIN);
  while (!read) read = reactor().try_read(fd, std::span(&vector, 1), 0);
  EXPECT_EQ(read, IoCount(3));
  EXPECT_EQ(got, "fre??");
}

// Workers repeat an interrupted call, and also an operation that the ring did not begin.
TEST_P(OddAnswersTest, WhatWasNotBegunIsDoneAgain) {
  if (simulated()) GTEST_SKIP() << "a simulated disk is not interrupted";
  const std::vector<int> errors =
      backend() == "io_uring" ? std::vector<int>{EINTR, EAGAIN, ECANCELED} : std::vector<int>{EINTR};
  for (int error : errors) {
    SCOPED_TRACE(errno_text(Errno(error)));
    const std::string path = make_file(std::string(2 * kBlockBytes, '.'));
    const int fd = open(path);
    for (OperationKind kind :
         {OperationKind::kWrite, OperationKind::kRead, OperationKind::kSync, OperationKind::kAllocate}) {
      inject({.kind = kind, .error = error});
      inject({.kind = kind, .error = EINTR, .count = 3});
    }
    EXPECT_EQ(write(fd, std::string(kBlockBytes, 'a'), kBlockBytes), IoCount(kBlockBytes));
    std::string got(kBlockBytes, '?');
    EXPECT_EQ(read(fd, got, kBlockBytes), IoCount(kBlockBytes));
    EXPECT_EQ(got, std::string(kBlockBytes, 'a'));
    std::vector<int> outcomes;
    run(change(reactor(), fd, outcomes));
    EXPECT_EQ(outcomes, (std::vector<int>{0, 0, 0}));
    EXPECT_TRUE(content_of(path) == std::string(kBlockBytes, '\0') + std::string(kBlockBytes, 'a'));
    EXPECT_EQ(kernel().faults_met(), 4u * 4u);
    clear_faults();
    kernel().forget_faults_met();
  }
}

// Writes one of many blocks and reads it back; `answers` counts the results.
Task<void> write_and_read_block(Reactor& reactor, int fd, std::size_t index, int& answers) {
  std::string block = pattern(kBlockBytes, index);
  iovec vector = vector_of(block);
  EXPECT_EQ(co_await reactor.write(fd, std::span(&vector, 1), index * kBlockBytes, false), IoCount(kBlockBytes));
  ++answers;
  std::string got(kBlockBytes, '?');
  vector = vector_of(got);
  EXPECT_EQ(co_await reactor.read(fd, std::span(&vector, 1), index * kBlockBytes), IoCount(kBlockBytes));
  EXPECT_EQ(got, block);
  ++answers;
}

Task<void> wait_for(Reactor& reactor, int fd, std::uint32_t events, int& answers) {
  EXPECT_TRUE((co_await reactor.poll(fd, events)).has_value());
  ++answers;
}

Task<void> wait_in_vain(Reactor& reactor, int fd, int& answers) {
  EXPECT_EQ(errno_of(co_await reactor.poll(fd, POLLIN)), ECANCELED);
  ++answers;
}

struct Crowd {
  std::size_t blocks;
  std::size_t polls;
};

// Runs many operations at once: transfers of blocks, polls that complete, and polls that are cancelled.
Task<void> run_crowd(Reactor& reactor, int fd, std::pair<int, int> sockets, Crowd crowd, std::vector<int>& answers) {
  answers.assign(crowd.blocks + 2 * crowd.polls, 0);
  Scope working(reactor);
  Scope waiting(reactor);
  for (std::size_t i = 0; i < crowd.blocks; ++i) {
    working.spawn("block", write_and_read_block(reactor, fd, i, answers[i]));
  }
  for (std::size_t i = 0; i < crowd.polls; ++i) {
    int& answered = answers[crowd.blocks + 2 * i];
    working.spawn("ready", wait_for(reactor, sockets.first, POLLOUT, answered));
    waiting.spawn("vain", wait_in_vain(reactor, sockets.second, answers[crowd.blocks + 2 * i + 1]));
  }
  co_await working.join();
  waiting.cancel();
  co_await waiting.join();
}

void expect_all_answered_once(const Crowd& crowd, const std::vector<int>& answers) {
  ASSERT_EQ(answers.size(), crowd.blocks + 2 * crowd.polls);
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i], i < crowd.blocks ? 2 : 1) << i;
}

std::string blocks_of(std::size_t count) {
  std::string content;
  for (std::size_t i = 0; i < count; ++i) content += pattern(kBlockBytes, i);
  return content;
}

TEST_P(OddAnswersTest, EntriesThatTheKernelDoesNotTakeComeLater) {
  if (backend() != "io_uring") GTEST_SKIP() << "of a ring only";
  constexpr Crowd kCrowd{.blocks = 1200, .polls = 40};
  for (int error : {EAGAIN, EBUSY, ENOMEM}) {
    for (std::uint64_t count : {1u, 3u, 40u}) {
      SCOPED_TRACE(::testing::Message() << errno_text(Errno(error)) << ", " << count << " times");
      const std::string path = make_file();
      const int fd = open(path);
      auto sockets = make_socket_pair();
      const std::uint64_t before = kernel().refusals();
      kernel().refuse_entries(error, count);
      std::vector<int> answers;
      run(run_crowd(reactor(), fd, sockets, kCrowd, answers));
      EXPECT_EQ(kernel().refusals() - before, count);
      expect_all_answered_once(kCrowd, answers);
      EXPECT_TRUE(content_of(path) == blocks_of(kCrowd.blocks));
      for (int end : {sockets.first, sockets.second}) reactor().close_now(end);
    }
  }
}

TEST_P(OddAnswersTest, AKernelThatTakesNothingIsNotAskedWithoutPause) {
  if (backend() != "io_uring") GTEST_SKIP() << "of a ring only";
  const int fd = open(make_file());
  constexpr std::uint64_t kRefusedNs = 50'000'000;
  std::uint64_t lasted_ns = 0;
  run([](Reactor& on, testing::OddKernel& kernel, int to, std::uint64_t& lasted) -> Task<void> {
    const std::uint64_t began_ns = on.now_ns();
    kernel.refuse_entries(EAGAIN, UINT64_MAX);
    Scope writing(on);
    int answers = 0;
    writing.spawn("write", write_and_read_block(on, to, 0, answers));
    (void)co_await on.sleep_until(began_ns + kRefusedNs);
    lasted = on.now_ns() - began_ns;
    kernel.refuse_entries(0, 0);
    co_await writing.join();
    EXPECT_EQ(answers, 2);
  }(reactor(), kernel(), fd, lasted_ns));
  // About one per millisecond, and a few in the first turn.
  EXPECT_GE(kernel().refusals(), 2u);
  EXPECT_LE(kernel().refusals(), 10 + 4 * (lasted_ns / 1'000'000));
}

// The kernel buffers completions that do not fit into the completion queue.
TEST_P(OddAnswersTest, ARingThatIsFarTooSmallLosesNothing) {
  if (backend() != "io_uring") GTEST_SKIP() << "of a ring only";
  constexpr Crowd kCrowd{.blocks = 600, .polls = 200};
  Log log("test", 2, LogLevel::kError);
  auto backend = kernel().make_ring(2, 4);
  ASSERT_TRUE(backend.has_value()) << backend.error().message();
  std::unique_ptr<Reactor> small = Reactor::create(std::move(*backend), ReactorOptions(), &log);
  const std::string path = make_file();
  const int fd = open(path);
  auto sockets = make_socket_pair();
  for (std::uint64_t refused : {0u, 20u}) {
    kernel().refuse_entries(EBUSY, refused);
    std::vector<int> answers;
    testing::run(*small, run_crowd(*small, fd, sockets, kCrowd, answers));
    expect_all_answered_once(kCrowd, answers);
    EXPECT_TRUE(content_of(path) == blocks_of(kCrowd.blocks));
  }
  for (int end : {sockets.first, sockets.second}) reactor().close_now(end);
}

Task<void> send_all(Reactor& reactor, int fd, std::string data) {
  std::size_t sent = 0;
  while (sent < data.size()) {
    iovec vector{data.data() + sent, data.size() - sent};
    IoCount count = reactor.try_send(fd, std::span(&vector, 1));
    if (count) {
      sent += *count;
    } else if (count.error() != Errno(EAGAIN) || !co_await reactor.poll(fd, POLLOUT)) {
      ADD_FAILURE() << errno_text(count.error());
      co_return;
    }
  }
}

// Sends a range of a file after a header, like a reply.
Task<void> send_file(Reactor& reactor, int fd, std::string head, int file, std::uint64_t length) {
  std::uint64_t offset = 0;
  while (!head.empty() || offset < length) {
    iovec vector = vector_of(head);
    const std::span<const iovec> vectors(&vector, head.empty() ? 0 : 1);
    IoCount count = offset < length ? reactor.try_send_file(fd, vectors, file, offset, length - offset)
                                    : reactor.try_send(fd, vectors);
    if (count) {
      const std::size_t of_head = std::min(head.size(), *count);
      head.erase(0, of_head);
      offset += *count - of_head;
    } else if (count.error() != Errno(EAGAIN) || !co_await reactor.poll(fd, POLLOUT)) {
      ADD_FAILURE() << errno_text(count.error());
      co_return;
    }
  }
}

Task<void> receive_all(Reactor& reactor, int fd, std::size_t length, std::string& out) {
  char buffer[5000];
  while (out.size() < length) {
    IoCount count = reactor.try_receive(fd, std::as_writable_bytes(std::span(buffer)));
    if (count && *count > 0) {
      out.append(buffer, *count);
    } else if (count || count.error() != Errno(EAGAIN) || !co_await reactor.poll(fd, POLLIN)) {
      co_return;
    }
  }
}

Task<void> send_and_receive(Reactor& reactor, std::pair<int, int> ends, std::string data, int file, std::string& out) {
  Scope scope(reactor);
  scope.spawn("receive", receive_all(reactor, ends.second, 3 * data.size() + 16, out));
  co_await send_all(reactor, ends.first, data);
  co_await send_file(reactor, ends.first, "sixteen bytes...", file, data.size());
  co_await send_all(reactor, ends.first, data);
  co_await scope.join();
}

TEST_P(OddAnswersTest, AStreamOfOddPiecesArrivesWholeAndInOrder) {
  const std::string data = pattern(9'000, 5);
  const int file = open(make_file(data));
  for (std::size_t moved : {1u, 3u, 1000u}) {
    SCOPED_TRACE(moved);
    if (simulated()) {
      simulation().options().streams = {.buffer_bytes = moved, .any_length = true};
    } else {
      kernel().set_sockets({.moved_bytes_max = moved, .interrupted = true, .refused = true});
    }
    auto ends = make_socket_pair();
    std::string got;
    run(send_and_receive(reactor(), ends, data, file, got));
    EXPECT_TRUE(got == data + "sixteen bytes..." + data + data) << got.size();
    for (int end : {ends.first, ends.second}) reactor().close_now(end);
  }
}

}  // namespace
}  // namespace blockexport::aio
