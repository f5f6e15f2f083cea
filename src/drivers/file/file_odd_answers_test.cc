// Files and devices with unusual results, on every backend: short counts in the middle of a request, an error of the
// k-th call, refusals. Each case runs one request over a file and compares with a model: after a success all bytes are
// there; after a failure the first error is returned and nothing has changed beyond the documented part; and the bytes
// around the request are unchanged.
#include <linux/falloc.h>

#include <string>
#include <vector>

#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "aio/testing/file_abilities.h"
#include "block/node.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using aio::Fault;
using aio::OperationKind;
using block::Range;

constexpr std::size_t kFileBytes = 1u << 20;
constexpr Range kRange{.offset = 256u << 10, .length = 512u << 10};
constexpr std::size_t kAlignmentMax = 4096;

std::string pattern(std::size_t length, std::size_t seed) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>('A' + (i / 512 + i % 26 + seed) % 57);
  return text;
}

// The buffers of a request as a connection has them: several pieces, each aligned for direct I/O.
class Pieces {
 public:
  explicit Pieces(const std::string& content)
      : memory_(static_cast<std::byte*>(::operator new(content.size(), std::align_val_t(kAlignmentMax)))),
        bytes_(content.size()) {
    content.copy(reinterpret_cast<char*>(memory_), bytes_);
    for (std::size_t at = 0, length = kAlignmentMax; at < bytes_; at += length, length *= 3) {
      length = std::min(length, bytes_ - at);
      vectors_.push_back({memory_ + at, length});
    }
  }
  ~Pieces() { ::operator delete(memory_, std::align_val_t(kAlignmentMax)); }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;

  block::IoBuffers buffers() const { return vectors_; }
  std::string content() const { return {reinterpret_cast<const char*>(memory_), bytes_}; }

 private:
  std::byte* memory_;
  std::size_t bytes_;
  std::vector<iovec> vectors_;
};

struct Case {
  const char* name;
  std::vector<Fault> faults;  // faults of the reads, for a read request, else of the writes
  int error = 0;              // the request's error
  std::size_t kept = 0;       // bytes from the start of the request that must be there after a failure
  std::size_t touched = 0;    // bytes that may have changed after a failure
};

Fault shorter(std::uint64_t bytes, std::uint64_t after = 0) {
  return {.kind = OperationKind::kWrite, .after = after, .moved_bytes = bytes};
}
Fault failing(int error, std::uint64_t after = 0) {
  return {.kind = OperationKind::kWrite, .error = error, .after = after};
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {.name = "as ever", .faults = {}},
      {.name = "ends after a block", .faults = {shorter(4096)}},
      {.name = "ends after a block and a sector", .faults = {shorter(4096 + 512)}},
      {.name = "ends inside of a sector", .faults = {shorter(8192 + 100)}},
      {.name = "ends a byte before its end", .faults = {shorter(kRange.length - 1)}},
      {.name = "ends four times",
       .faults = {shorter(8192 + 100), shorter(4096 + 512), shorter(12'288 + 7), shorter(16'384 + 1)}},
      {.name = "the first call fails", .faults = {failing(EIO)}, .error = EIO},
      {.name = "the second call fails",
       .faults = {shorter(8192), failing(ENOSPC)},
       .error = ENOSPC,
       .kept = 8192,
       .touched = 8192},
      {.name = "the second call fails after an odd count",
       .faults = {shorter(8192 + 100), failing(EDQUOT)},
       .error = EDQUOT,
       .kept = 8192,
       .touched = 8192 + 100},
      {.name = "the first of two errors counts",
       .faults = {shorter(4096), failing(EFBIG), failing(EIO)},
       .error = EFBIG,
       .kept = 4096,
       .touched = 4096},
  };
  return all;
}

class FileOddAnswersTest : public aio::testing::ForEachBackend {
 protected:
  // A node over a new file with this content. Null where it cannot be opened, for example with `direct`.
  std::unique_ptr<block::Node> open(const std::string& content, FileOptions options = {}) {
    path_ = make_file(content);
    options.filename = path_;
    options.locking = FileLocking::kOff;
    std::unique_ptr<block::Node> node;
    run([](FileOptions how, std::unique_ptr<block::Node>& opened) -> aio::Task<void> {
      auto driver = co_await FileDriver::open(std::move(how));
      if (!driver) co_return;
      opened = std::make_unique<block::Node>("disk", std::move(*driver),
                                             block::NodeOptions{.discard = block::DiscardMode::kUnmap});
    }(std::move(options), node));
    return node;
  }

  IoResult write(block::Node& node, const std::string& data, Range range, block::WriteOptions options = {}) {
    IoResult result;
    const Pieces pieces(data);
    run([](block::Node& to, Range where, block::IoBuffers buffers, block::WriteOptions how,
           IoResult& done) -> aio::Task<void> {
      done = co_await to.write(where, buffers, how);
    }(node, range, pieces.buffers(), options, result));
    return result;
  }
  std::expected<std::string, Errno> read(block::Node& node, Range range) {
    IoResult result;
    const Pieces pieces(std::string(range.length, '?'));
    run([](block::Node& from, Range where, block::IoBuffers buffers, IoResult& done) -> aio::Task<void> {
      done = co_await from.read(where, buffers);
    }(node, range, pieces.buffers(), result));
    if (!result) return fail(result.error());
    return pieces.content();
  }
  IoResult write_zeroes(block::Node& node, Range range, block::ZeroOptions options = {}) {
    IoResult result;
    run([](block::Node& to, Range where, block::ZeroOptions how, IoResult& done) -> aio::Task<void> {
      done = co_await to.write_zeroes(where, how);
    }(node, range, options, result));
    return result;
  }

  // Checks a file with the content `before` after a request wrote `data` to kRange.
  void expect_content(const Case& now, const IoResult& result, const std::string& before, const std::string& data) {
    const std::string after = content_of(path_);
    ASSERT_EQ(after.size(), before.size());
    EXPECT_EQ(after.substr(0, kRange.offset), before.substr(0, kRange.offset)) << "before the request";
    EXPECT_TRUE(after.substr(kRange.end()) == before.substr(kRange.end())) << "behind the request";
    const std::size_t kept = result ? kRange.length : now.kept;
    const std::size_t touched = result ? kRange.length : now.touched;
    EXPECT_TRUE(after.substr(kRange.offset, kept) == data.substr(0, kept)) << "written data are missing";
    EXPECT_TRUE(after.substr(kRange.offset + touched, kRange.length - touched) ==
                before.substr(kRange.offset + touched, kRange.length - touched))
        << "more bytes changed than documented";
  }

  void write_every_case(FileOptions file, block::WriteOptions options) {
    for (const Case& now : cases()) {
      SCOPED_TRACE(now.name);
      const std::string before(kFileBytes, '.');
      std::unique_ptr<block::Node> node = open(before, file);
      if (node == nullptr) GTEST_SKIP() << "such a file cannot be opened here";
      for (const Fault& fault : now.faults) inject(fault);
      const std::string data = pattern(kRange.length, 1);
      const IoResult result = write(*node, data, kRange, options);
      EXPECT_EQ(result, now.error == 0 ? IoResult() : IoResult(fail(now.error)));
      expect_content(now, result, before, data);
      clear_faults();
      // A second run gives the same result.
      EXPECT_TRUE(write(*node, data, kRange, options).has_value());
      EXPECT_EQ(read(*node, kRange), data);
    }
  }

  std::string path_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(FileOddAnswersTest);

TEST_P(FileOddAnswersTest, AWriteContinuesAfterAShortCount) {
  write_every_case({}, {});
}

TEST_P(FileOddAnswersTest, ADirectWriteContinuesAtTheBlockOfAShortCount) {
  write_every_case({.direct = true}, {});
}

TEST_P(FileOddAnswersTest, AReadContinuesAfterAShortCount) {
  for (bool direct : {false, true}) {
    for (const Case& now : cases()) {
      SCOPED_TRACE(::testing::Message() << now.name << (direct ? ", direct" : ""));
      const std::string content = pattern(kFileBytes, 2);
      std::unique_ptr<block::Node> node = open(content, {.direct = direct});
      if (node == nullptr) continue;
      for (Fault fault : now.faults) {
        fault.kind = OperationKind::kRead;
        inject(fault);
      }
      const auto got = read(*node, kRange);
      clear_faults();
      if (now.error != 0) {
        EXPECT_EQ(got, (std::expected<std::string, Errno>(fail(now.error))));
      } else {
        ASSERT_TRUE(got.has_value()) << errno_text(got.error());
        EXPECT_TRUE(*got == content.substr(kRange.offset, kRange.length));
      }
    }
  }
}

// Each of the calls must be durable, not only the first.
TEST_P(FileOddAnswersTest, ADurableWriteInSeveralCallsIsDurable) {
  if (!simulated()) GTEST_SKIP() << "only a simulated host loses its power";
  for (bool direct : {false, true}) {
    for (const Case& now : cases()) {
      if (now.error != 0) continue;
      SCOPED_TRACE(::testing::Message() << now.name << (direct ? ", direct" : ""));
      std::unique_ptr<block::Node> node = open(std::string(kFileBytes, '.'), {.direct = direct});
      ASSERT_NE(node, nullptr);
      for (const Fault& fault : now.faults) inject(fault);
      const std::string data = pattern(kRange.length, 3);
      EXPECT_TRUE(write(*node, data, kRange, {.force_unit_access = true}).has_value());
      clear_faults();
      simulation().power_cut();
      EXPECT_TRUE(content_of(path_).substr(kRange.offset, kRange.length) == data);
    }
  }
}

TEST_P(FileOddAnswersTest, AWriteOfZeroBytesIsAnErrorAndNotRetriedForEver) {
  for (bool direct : {false, true}) {
    for (std::uint64_t moved : {0u, 100u}) {
      // A part of a block counts as nothing for direct I/O only.
      if (!direct && moved != 0) continue;
      SCOPED_TRACE(::testing::Message() << moved << (direct ? ", direct" : ""));
      const std::string before(kFileBytes, '.');
      std::unique_ptr<block::Node> node = open(before, {.direct = direct});
      if (node == nullptr) continue;
      inject(shorter(8192));
      inject(shorter(moved));
      const std::string data = pattern(kRange.length, 4);
      const IoResult result = write(*node, data, kRange);
      EXPECT_EQ(result, IoResult(fail(ENOSPC)));
      clear_faults();
      expect_content({.name = "", .faults = {}, .kept = 8192, .touched = 8192 + moved}, result, before, data);
    }
  }
}

TEST_P(FileOddAnswersTest, AFileThatHasBecomeShorterIsAnErrorAndNotZeros) {
  for (bool direct : {false, true}) {
    std::unique_ptr<block::Node> node = open(pattern(kFileBytes, 5), {.direct = direct});
    if (node == nullptr) continue;
    inject({.kind = OperationKind::kRead, .moved_bytes = 8192});
    inject({.kind = OperationKind::kRead, .moved_bytes = 0});
    EXPECT_EQ(read(*node, kRange), (std::expected<std::string, Errno>(fail(EIO))));
    clear_faults();
  }
}

TEST_P(FileOddAnswersTest, AShortInlineTransferIsLeftToTheBlockingVerb) {
  const std::string content = pattern(64 << 10, 6);
  std::unique_ptr<block::Node> node = open(content);
  ASSERT_NE(node, nullptr);
  const std::string data(5000, 'n');
  const Pieces writing(data);
  inject({.kind = OperationKind::kWrite, .count = 100, .moved_bytes = 4097, .immediate = true});
  inject({.kind = OperationKind::kRead, .count = 100, .moved_bytes = 100, .immediate = true});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(node->try_write(reactor(), {1000, 5000}, writing.buffers()), IoResult(fail(EAGAIN)));
    EXPECT_EQ(node->try_read(reactor(), {1000, 5000}, writing.buffers()), IoResult(fail(EAGAIN)));
  }
  EXPECT_TRUE(write(*node, data, {1000, 5000}).has_value());
  EXPECT_EQ(read(*node, {1000, 5000}), data);
  EXPECT_EQ(content_of(path_), content.substr(0, 1000) + data + content.substr(6000));
}

// The driver writes zeros where neither the file system nor the kernel has a call for it, in as many calls as needed.
TEST_P(FileOddAnswersTest, ZerosAreWrittenWhereNoCallZeroesAndContinueAfterShortCounts) {
  for (bool direct : {false, true}) {
    for (const Case& now : cases()) {
      SCOPED_TRACE(::testing::Message() << now.name << (direct ? ", direct" : ""));
      const std::string before = pattern(kFileBytes, 7);
      std::unique_ptr<block::Node> node = open(before, {.direct = direct});
      if (node == nullptr) continue;
      inject({.kind = OperationKind::kAllocate, .error = EOPNOTSUPP, .count = 100});
      for (const Fault& fault : now.faults) inject(fault);
      const IoResult result = write_zeroes(*node, kRange);
      EXPECT_EQ(result, now.error == 0 ? IoResult() : IoResult(fail(now.error)));
      expect_content(now, result, before, std::string(kRange.length, '\0'));
      clear_faults();
    }
  }
}

TEST_P(FileOddAnswersTest, FastZerosAreRefusedWithoutAChangeOrAreZeros) {
  // The number of the calls in a row that the file system supports; first none, at last all.
  for (int error : {EOPNOTSUPP, ENOSYS, EINVAL, 0}) {
    for (bool may_unmap : {false, true}) {
      SCOPED_TRACE(::testing::Message() << error << (may_unmap ? ", may unmap" : ""));
      const std::string before = pattern(kFileBytes, 8);
      std::unique_ptr<block::Node> node = open(before);
      ASSERT_NE(node, nullptr);
      if (error != 0) inject({.kind = OperationKind::kAllocate, .error = error, .count = 100});
      const IoResult result = write_zeroes(*node, kRange, {.may_unmap = may_unmap, .no_fallback = true});
      clear_faults();
      const std::string after = content_of(path_);
      if (error != 0) {
        EXPECT_EQ(result, IoResult(fail(ENOTSUP)));
        EXPECT_TRUE(after == before) << "something has changed";
        continue;
      }
      if (!result && !simulated()) GTEST_SKIP() << "the file system of this host does not support it";
      EXPECT_TRUE(result.has_value());
      EXPECT_TRUE(after ==
                  before.substr(0, kRange.offset) + std::string(kRange.length, '\0') + before.substr(kRange.end()));
    }
  }
}

// A full disk still supports the call: the driver returns the error and tries no write.
TEST_P(FileOddAnswersTest, AnErrorOfZeroingIsThatErrorAndNoWriteFollows) {
  for (int error : {ENOSPC, EIO, EDQUOT, EPERM}) {
    for (bool fast : {false, true}) {
      SCOPED_TRACE(::testing::Message() << errno_text(Errno(error)) << (fast ? ", fast" : ""));
      const std::string before = pattern(kFileBytes, 9);
      std::unique_ptr<block::Node> node = open(before);
      ASSERT_NE(node, nullptr);
      inject({.kind = OperationKind::kAllocate, .error = error});
      EXPECT_EQ(write_zeroes(*node, kRange, {.no_fallback = fast}), IoResult(fail(error)));
      EXPECT_TRUE(content_of(path_) == before);
      clear_faults();
    }
  }
}

// The file system refuses RWF_DONTCACHE once, and the driver does not use it again.
TEST_P(FileOddAnswersTest, AnUnsupportedFlagIsLeftOut) {
  if (simulated()) GTEST_SKIP() << "simulated files do not support it: see file_backends_test.cc";
  std::unique_ptr<block::Node> node = open(pattern(kFileBytes, 10), {.keep_cached = false});
  ASSERT_NE(node, nullptr);
  if (!aio::testing::knows_dropping(path_)) GTEST_SKIP() << "the kernel or the file system has no RWF_DONTCACHE";
  inject(shorter(4096 + 512));
  inject(failing(EOPNOTSUPP));
  const std::string data = pattern(kRange.length, 11);
  EXPECT_TRUE(write(*node, data, kRange).has_value());
  clear_faults();
  EXPECT_TRUE(content_of(path_).substr(kRange.offset, kRange.length) == data);
  // Without the flag, a refusal is an error that is not retried.
  inject({.kind = OperationKind::kWrite, .error = EOPNOTSUPP});
  EXPECT_EQ(write(*node, data, kRange), IoResult(fail(EOPNOTSUPP)));
  clear_faults();
}

}  // namespace
}  // namespace blockexport::drivers
