// Direct transfers with buffers of a reactor's pool, which io_uring pins: neither backend may transfer old content of
// pages that were returned to the system.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "aio/testing/backends.h"
#include "aio/threads/data_reactor.h"

namespace blockexport::aio {
namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kBlocks = 64;
constexpr std::size_t kHeadBytes = 4096;

std::uint64_t pinned_kb() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmPin:")) return std::stoull(line.substr(6));
  }
  return 0;
}

// True if the limit on locked memory allows two slabs.
bool may_pin() {
  void* memory = ::mmap(nullptr, 2 * Slabs::kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool locked = ::mlock(memory, 2 * Slabs::kSlabBytes) == 0;
  ::munmap(memory, 2 * Slabs::kSlabBytes);
  return locked;
}

std::string image() {
  std::string content(kBlocks * kBlockBytes, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i / kBlockBytes + i % 251);
  return content;
}

class PinnedMemoryTest : public testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (!IsSkipped()) data_reactor_ = std::make_unique<DataReactor>(reactor());
  }

  // Opens the existing file `path` with O_DIRECT; skips the test where that fails.
  void open(const std::string& path) {
    run([](Reactor& on, std::string name, int& fd) -> Task<void> {
      auto opened = co_await on.open(name.c_str(), O_RDWR | O_DIRECT);
      fd = opened.value_or(-1);
    }(reactor(), path, fd_));
    if (fd_ < 0) GTEST_SKIP() << "no direct I/O here";
  }

  // Reads all blocks concurrently, and compares them with `expected`.
  void read_all(const std::string& expected) {
    run([](DataReactor& data_reactor, int fd, const std::string& wanted) -> Task<void> {
      Scope reads(data_reactor.reactor);
      for (std::size_t block = 0; block < kBlocks; ++block)
        reads.spawn("read", read_one(data_reactor, fd, block, wanted));
      co_await reads.join();
    }(*data_reactor_, fd_, expected));
  }

  static Task<void> read_one(DataReactor& data_reactor, int fd, std::size_t block, const std::string& expected) {
    Buffer buffer = data_reactor.pool.take(kHeadBytes + kBlockBytes);
    iovec vector{buffer.data() + kHeadBytes, kBlockBytes};
    auto got = co_await data_reactor.reactor.read(fd, std::span(&vector, 1), block * kBlockBytes, Caching::kBypass);
    EXPECT_EQ(got, kBlockBytes);
    const std::string_view read(reinterpret_cast<const char*>(buffer.data() + kHeadBytes), kBlockBytes);
    EXPECT_EQ(read, std::string_view(expected).substr(block * kBlockBytes, kBlockBytes)) << "block " << block;
  }

  void write_all(const std::string& content) {
    run([](DataReactor& data_reactor, int fd, const std::string& bytes) -> Task<void> {
      for (std::size_t block = 0; block < kBlocks; ++block) {
        Buffer buffer = data_reactor.pool.take(kBlockBytes);
        bytes.copy(reinterpret_cast<char*>(buffer.data()), kBlockBytes, block * kBlockBytes);
        iovec vector{buffer.data(), kBlockBytes};
        EXPECT_EQ(co_await data_reactor.reactor.write(fd, std::span(&vector, 1), block * kBlockBytes, false,
                                                      Caching::kBypass),
                  kBlockBytes);
      }
    }(*data_reactor_, fd_, content));
  }

  void TearDown() override {
    data_reactor_ = nullptr;
    if (fd_ >= 0) reactor().close_file(fd_);
  }

  std::unique_ptr<DataReactor> data_reactor_;
  int fd_ = -1;
};
BLOCKEXPORT_FOR_EACH_BACKEND(PinnedMemoryTest);

TEST_P(PinnedMemoryTest, WhatIsReadAndWrittenIsRightBeforeAndAfterATrim) {
  const std::string first = image();
  open(make_file(first));
  if (IsSkipped()) return;
  for (int round = 0; round < 4; ++round) read_all(first);
  std::string second = first;
  for (char& byte : second) byte = static_cast<char>(~byte);
  write_all(second);
  // After the trim all pages of the pinned slabs are new ones.
  data_reactor_->pool.trim();
  read_all(second);
  write_all(first);
  for (int round = 0; round < 4; ++round) read_all(first);
}

TEST_P(PinnedMemoryTest, ARingPinsWhatIsUsedOftenUntilItIsTrimmed) {
  open(make_file(image()));
  if (IsSkipped()) return;
  const std::uint64_t before_kb = pinned_kb();
  read_all(image());
  read_all(image());
  if (backend() == "io_uring" && may_pin()) {
    EXPECT_EQ(pinned_kb() - before_kb, Slabs::kSlabBytes / 1024);
  } else {
    EXPECT_EQ(pinned_kb(), before_kb);
  }
  data_reactor_->pool.trim();
  run(read_one(*data_reactor_, fd_, 1, image()));
  EXPECT_EQ(pinned_kb(), before_kb) << "it keeps what was given back";
  data_reactor_ = nullptr;
  EXPECT_EQ(pinned_kb(), before_kb);
}

TEST_P(PinnedMemoryTest, AFewTransfersPinNothing) {
  open(make_file(image()));
  if (IsSkipped()) return;
  const std::uint64_t before_kb = pinned_kb();
  run(read_one(*data_reactor_, fd_, 1, image()));
  EXPECT_EQ(pinned_kb(), before_kb);
}

}  // namespace
}  // namespace blockexport::aio
