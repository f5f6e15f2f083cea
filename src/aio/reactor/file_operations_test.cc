#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "aio/operation/file_map.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

class FileOperationsTest : public testing::ForEachBackend {};
BLOCKEXPORT_FOR_EACH_BACKEND(FileOperationsTest);

iovec vector_of(std::string& text) {
  return {text.data(), text.size()};
}

// Ends the coroutine, with a failure, unless `expression` is a success.
#define CO_EXPECT(expression)                                                                 \
  do {                                                                                        \
    auto checked_ = (expression);                                                             \
    EXPECT_TRUE(checked_.has_value()) << #expression << ": " << errno_text(checked_.error()); \
    if (!checked_) co_return;                                                                 \
  } while (false)

// Maps a file of 1 MiB with data in [64 KiB, 128 KiB), allocated space without data in [256 KiB, 384 KiB) except 4 KiB
// of data at 300 KiB, and holes elsewhere.
Task<void> map_a_sparse_file(Reactor& reactor, std::string path, FileMap& map) {
  constexpr std::uint64_t kKib = 1024;
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  CO_EXPECT(co_await reactor.truncate(*fd, 1024 * kKib));
  std::string data(64 * kKib, 'x');
  std::array<iovec, 1> vector = {vector_of(data)};
  CO_EXPECT(co_await reactor.write(*fd, vector, 64 * kKib, false));
  CO_EXPECT(co_await reactor.allocate(*fd, FALLOC_FL_KEEP_SIZE, 256 * kKib, 128 * kKib));
  vector[0].iov_len = 4 * kKib;
  CO_EXPECT(co_await reactor.write(*fd, vector, 300 * kKib, false));
  CO_EXPECT(co_await reactor.map(*fd, 0, 1024 * kKib, map));
  CO_EXPECT(co_await reactor.close(*fd));
}

TEST_P(FileOperationsTest, AMapTellsDataFromHolesAndFromSpaceWithoutData) {
  std::string path = make_file();
  FileMap map;
  run(map_a_sparse_file(reactor(), path, map));
  // Whatever the file system reports, data has the kind kData, and the runs are in order.
  std::uint64_t at = 0;
  for (const FileRun& run : map.runs) {
    bool data = run.kind == FileRunKind::kData;
    EXPECT_TRUE(data || at + run.length <= 64 << 10 || at >= 128 << 10) << at << "+" << run.length;
    EXPECT_TRUE(data || at + run.length <= 300 << 10 || at >= 304 << 10) << at << "+" << run.length;
    // Allocated space without data is never a hole.
    bool reserved = !simulated() && at < 384 << 10 && at + run.length > 256 << 10;
    EXPECT_TRUE(!reserved || run.kind != FileRunKind::kHole) << at << "+" << run.length;
    at += run.length;
  }
  EXPECT_EQ(at, 1u << 20);
  // The file was written a moment ago.
  if (!simulated()) {
    EXPECT_FALSE(map.lasting);
  }
  if (map.exact) {
    EXPECT_EQ(map.info.size_bytes, 1u << 20);
    EXPECT_GE(map.info.allocated_bytes, 68u << 10);
  }
}

Task<void> map_an_empty_file(Reactor& reactor, std::string path, std::uint64_t size_bytes, FileMap& map) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  CO_EXPECT(co_await reactor.truncate(*fd, size_bytes));
  CO_EXPECT(co_await reactor.map(*fd, 0, size_bytes, map));
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, AMapOfAHugeFileStopsShort) {
  if (!simulated()) GTEST_SKIP() << "the host's file systems have no files of exbibytes";
  FileMap map;
  run(map_an_empty_file(reactor(), make_file(), std::uint64_t{7} << 60, map));
  ASSERT_EQ(map.runs.size(), 1u);
  EXPECT_EQ(map.runs[0].length, kMapBytesMax);
}

Task<void> write_and_read(Reactor& reactor, std::string path, std::string& read_back) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  std::string first = "hello ";
  std::string second = "world";
  std::array<iovec, 2> vectors = {vector_of(first), vector_of(second)};
  auto written = co_await reactor.write(*fd, vectors, 3, true);
  CO_EXPECT(written);
  EXPECT_EQ(*written, 11u);
  CO_EXPECT(co_await reactor.sync(*fd));
  std::string head(4, '?');
  std::string tail(20, '?');
  std::array<iovec, 2> into = {vector_of(head), vector_of(tail)};
  auto got = co_await reactor.read(*fd, into, 3);
  CO_EXPECT(got);
  EXPECT_EQ(*got, 11u) << "a read ends where the file ends";
  read_back = head + tail.substr(0, *got - head.size());
  CO_EXPECT(co_await reactor.close(*fd));
}

TEST_P(FileOperationsTest, WhatIsWrittenIsRead) {
  std::string path = make_file("abcdefgh");
  std::string read_back;
  run(write_and_read(reactor(), path, read_back));
  EXPECT_EQ(read_back, "hello world");
  EXPECT_EQ(content_of(path), "abchello world");
}

Task<void> write_at(Reactor& reactor, int fd, std::string text, std::uint64_t offset) {
  iovec vector = vector_of(text);
  CO_EXPECT(co_await reactor.write(fd, std::span(&vector, 1), offset, false));
}

// Begins several writes, and then blocks the loop until the first one is visible in the file.
Task<void> begin_writes(Reactor& reactor, std::string path, bool& seen) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  Scope writes(reactor);
  for (std::uint64_t i = 0; i < 4; ++i) writes.spawn("write", write_at(reactor, *fd, "x", i));
  char found = 0;
  const std::uint64_t end_ns = reactor.now_ns() + 5'000'000'000;
  while (found != 'x' && reactor.now_ns() < end_ns) (void)::pread(*fd, &found, 1, 0);
  seen = found == 'x';
  co_await writes.join();
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, TheDiskWorksWhileMoreIsBegun) {
  if (simulated()) GTEST_SKIP() << "a simulated disk works when the loop waits";
  bool seen = false;
  std::string path = make_file();
  run(begin_writes(reactor(), path, seen));
  EXPECT_TRUE(seen) << "what was begun waits for the end of the turn";
  EXPECT_EQ(content_of(path), "xxxx");
}

Task<void> read_whole(Reactor& reactor, std::string path, std::uint64_t offset, std::string& out) {
  auto fd = co_await reactor.open(path.c_str(), O_RDONLY);
  CO_EXPECT(fd);
  iovec vector = vector_of(out);
  auto got = co_await reactor.read(*fd, std::span(&vector, 1), offset);
  CO_EXPECT(got);
  out.resize(*got);
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, ReadAcrossAndBehindTheEndIsShort) {
  std::string path = make_file("0123456789");
  std::string out(20, '?');
  run(read_whole(reactor(), path, 6, out));
  EXPECT_EQ(out, "6789");
  out.assign(20, '?');
  run(read_whole(reactor(), path, 100, out));
  EXPECT_EQ(out, "");
}

Task<void> stat_and_resize(Reactor& reactor, std::string path, FileInfo& before, FileInfo& after) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  CO_EXPECT(co_await reactor.stat(*fd, before));
  CO_EXPECT(co_await reactor.truncate(*fd, 1 << 20));
  CO_EXPECT(co_await reactor.prefetch(*fd, 0, 4096));
  CO_EXPECT(co_await reactor.stat(*fd, after));
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, StatTellsSizeAndType) {
  FileInfo before;
  FileInfo after;
  run(stat_and_resize(reactor(), make_file("12345"), before, after));
  EXPECT_EQ(before.size_bytes, 5u);
  EXPECT_EQ(before.type, static_cast<std::uint32_t>(S_IFREG));
  EXPECT_EQ(after.size_bytes, 1u << 20);
  EXPECT_EQ(after.inode, before.inode);
}

Task<void> punch_and_map(Reactor& reactor, std::string path, FileMap& map) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  CO_EXPECT(co_await reactor.allocate(*fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536));
  CO_EXPECT(co_await reactor.map(*fd, 0, 196608, map));
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, APunchedHoleIsFoundAndReadsAsZero) {
  std::string path = make_file(std::string(196608, 'x'));
  FileMap map;
  run(punch_and_map(reactor(), path, map));
  std::vector<std::uint64_t> ends;  // ends of the runs: data, no data, data
  std::uint64_t at = 0;
  for (const FileRun& run : map.runs) {
    at += run.length;
    bool is_data = run.kind == FileRunKind::kData;
    if (is_data == (ends.size() % 2 == 1)) {
      ends.back() = at;
    } else {
      ends.push_back(at);
    }
  }
  EXPECT_EQ(ends, (std::vector<std::uint64_t>{65536, 131072, 196608}));
  EXPECT_EQ(content_of(path), std::string(65536, 'x') + std::string(65536, '\0') + std::string(65536, 'x'));
}

Task<void> lock_twice(Reactor& reactor, std::string path, std::vector<int>& outcomes) {
  auto one = co_await reactor.open(path.c_str(), O_RDWR);
  auto other = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(one);
  CO_EXPECT(other);
  auto note = [&](const IoResult& result) { outcomes.push_back(result ? 0 : result.error().value()); };
  note(co_await reactor.lock(*one, 100, F_RDLCK));
  note(co_await reactor.lock(*other, 100, F_RDLCK));
  auto taken = co_await reactor.test_lock(*other, 100, F_WRLCK);
  CO_EXPECT(taken);
  outcomes.push_back(static_cast<int>(*taken));
  note(co_await reactor.lock(*other, 100, F_WRLCK));
  note(co_await reactor.lock(*one, 100, F_UNLCK));
  note(co_await reactor.lock(*other, 100, F_WRLCK));
  auto free = co_await reactor.test_lock(*one, 101, F_WRLCK);
  CO_EXPECT(free);
  outcomes.push_back(static_cast<int>(*free));
  reactor.close_now(*one);
  reactor.close_now(*other);
}

TEST_P(FileOperationsTest, LocksBelongToOneOpening) {
  std::vector<int> outcomes;
  run(lock_twice(reactor(), make_file("x"), outcomes));
  EXPECT_EQ(outcomes, (std::vector<int>{0, 0, 1, EAGAIN, 0, 0, 0}));
}

Task<void> note_errors(Reactor& reactor, std::string path, std::vector<int>& errors) {
  auto missing = co_await reactor.open((path + ".missing").c_str(), O_RDONLY);
  errors.push_back(missing ? 0 : missing.error().value());
  auto fd = co_await reactor.open(path.c_str(), O_RDONLY);
  CO_EXPECT(fd);
  std::string text = "text";
  iovec vector = vector_of(text);
  auto written = co_await reactor.write(*fd, std::span(&vector, 1), 0, false);
  errors.push_back(written ? 0 : written.error().value());
  IoResult discarded = co_await reactor.discard(*fd, 0, 4096);
  errors.push_back(discarded ? 0 : discarded.error().value());
  reactor.close_now(*fd);
  auto closed = co_await reactor.read(*fd, std::span(&vector, 1), 0);
  errors.push_back(closed ? 0 : closed.error().value());
}

TEST_P(FileOperationsTest, ErrorsAreErrnos) {
  std::vector<int> errors;
  run(note_errors(reactor(), make_file("x"), errors));
  EXPECT_EQ(errors, (std::vector<int>{ENOENT, EBADF, ENOTTY, EBADF}));
}

Task<void> write_cancelled(Reactor& reactor, int fd, std::string text, IoCount& result) {
  iovec vector = vector_of(text);
  result = co_await reactor.write(fd, std::span(&vector, 1), 0, false);
}

Task<void> cancel_write(Reactor& reactor, std::string path, IoCount& late, IoCount& under_way) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  Scope scope(reactor);
  scope.spawn("writer", write_cancelled(reactor, *fd, "aaaa", under_way));
  scope.cancel();
  co_await scope.join();
  scope.spawn("writer", write_cancelled(reactor, *fd, "bbbb", late));
  co_await scope.join();
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, AWriteIsNotCancelled) {
  std::string path = make_file("....");
  IoCount late;
  IoCount under_way;
  run(cancel_write(reactor(), path, late, under_way));
  EXPECT_EQ(under_way, IoCount(4));
  EXPECT_EQ(late, IoCount(4));
  EXPECT_EQ(content_of(path), "bbbb");
}

Task<void> try_transfers(Reactor& reactor, std::string path, std::string& got) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  std::string text = "fresh";
  iovec vector = vector_of(text);
  IoCount written = reactor.try_write(*fd, std::span(&vector, 1), 0);
  if (!written) written = co_await reactor.write(*fd, std::span(&vector, 1), 0, false);
  CO_EXPECT(written);
  vector = vector_of(got);
  IoCount count = reactor.try_read(*fd, std::span(&vector, 1), 0);
  if (!count) count = co_await reactor.read(*fd, std::span(&vector, 1), 0);
  CO_EXPECT(count);
  reactor.close_now(*fd);
}

TEST_P(FileOperationsTest, TheImmediateCallsMoveTheSameBytes) {
  std::string path = make_file("stale");
  std::string got(5, '?');
  run(try_transfers(reactor(), path, got));
  EXPECT_EQ(got, "fresh");
}

Task<void> write_block(Reactor& reactor, int fd, std::uint64_t index, int& done) {
  std::string block(4096, static_cast<char>('a' + index % 26));
  iovec vector = vector_of(block);
  auto written = co_await reactor.write(fd, std::span(&vector, 1), index * 4096, false);
  if (written == IoCount(4096)) ++done;
}

Task<void> write_blocks(Reactor& reactor, std::string path, std::uint64_t count, int& done) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR);
  CO_EXPECT(fd);
  Scope scope(reactor);
  for (std::uint64_t i = 0; i < count; ++i) scope.spawn("writer", write_block(reactor, *fd, i, done));
  co_await scope.join();
  reactor.close_now(*fd);
}

Task<void> write_much(Reactor& reactor, int fd, void* memory, std::size_t bytes, IoCount& written) {
  iovec vector{memory, bytes};
  written = co_await reactor.write(fd, std::span(&vector, 1), 0, false);
}

// Writes unallocated memory to /dev/null, so that the transfer takes no time.
TEST_P(FileOperationsTest, ATransferOfMoreThanACallMovesIsShort) {
  if (simulated()) GTEST_SKIP() << "a simulation keeps what is written";
  constexpr std::size_t kMoved = 0x7ffff000;
  constexpr std::size_t kBytes = std::size_t{3} << 30;
  void* memory = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "the system has no such range of addresses";
  OwnedFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  for (std::size_t bytes : {kMoved - 1, kMoved, kMoved + 1, kBytes}) {
    IoCount written;
    run(write_much(reactor(), null.get(), memory, bytes, written));
    EXPECT_EQ(written, IoCount(std::min(bytes, kMoved)));
  }
  munmap(memory, kBytes);
}

// More operations than the ring has entries.
TEST_P(FileOperationsTest, ManyAtOnceAllEnd) {
  std::string path = make_file();
  int done = 0;
  run(write_blocks(reactor(), path, 3000, done));
  EXPECT_EQ(done, 3000);
  std::string content = content_of(path);
  ASSERT_EQ(content.size(), 3000u * 4096);
  EXPECT_EQ(content[2999 * 4096], static_cast<char>('a' + 2999 % 26));
}

}  // namespace
}  // namespace blockexport::aio
