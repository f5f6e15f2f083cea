#include "drivers/file/file_driver.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "aio/task/current.h"
#include "aio/testing/file_abilities.h"
#include "base/owned_fd.h"
#include "block/buffers.h"
#include "block/node.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"

namespace blockexport::drivers {
namespace {

using block::Extent;
using block::Extents;
using block::IoBuffers;
using block::Node;
using block::Range;

class FileDriverTest : public block::ReactorTest {
 protected:
  std::unique_ptr<Node> open(FileOptions options, block::NodeOptions node_options = {}) {
    auto driver = run(FileDriver::open(std::move(options)));
    if (!driver) {
      error_ = driver.error().message();
      return nullptr;
    }
    driver_ = driver->get();
    return std::make_unique<Node>("disk", std::move(*driver), node_options);
  }
  IoResult read(Node& node, std::uint64_t offset, std::string& into) {
    iovec vector{into.data(), into.size()};
    return run(node.read(Range{offset, into.size()}, IoBuffers(&vector, 1)));
  }
  IoResult write(Node& node, std::uint64_t offset, const std::string& text, block::WriteOptions options = {}) {
    iovec vector{const_cast<char*>(text.data()), text.size()};
    return run(node.write(Range{offset, text.size()}, IoBuffers(&vector, 1), options));
  }
  std::string content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::uint64_t blocks(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks);
  }

  block::TempDir directory_;
  std::string error_;
  FileDriver* driver_ = nullptr;
};

TEST_F(FileDriverTest, ExplainsErrorsOfOpening) {
  EXPECT_EQ(open({.filename = directory_.path("none")}), nullptr);
  EXPECT_EQ(error_, "Could not open '" + directory_.path("none") + "': No such file or directory");
  EXPECT_EQ(open({.filename = "/dev/null"}), nullptr);
  EXPECT_EQ(error_, "'file' driver requires '/dev/null' to be a regular file");
  EXPECT_EQ(open({.filename = "/"}), nullptr);
  EXPECT_EQ(error_, "Could not open '/': Is a directory");
  EXPECT_EQ(open({}), nullptr);
  EXPECT_EQ(error_, "The 'file' block driver requires a file name");
  EXPECT_EQ(open({.filename = directory_.sparse_file("a", 512), .aio = FileAio::kNative}), nullptr);
  EXPECT_EQ(error_, "aio=native was specified, but it requires cache.direct=on, which was not specified.");
}

TEST_F(FileDriverTest, ReadsTheWrittenData) {
  std::string path = directory_.sparse_file("a", 1 << 20);
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  EXPECT_EQ(disk->size_bytes(), 1u << 20);
  ASSERT_TRUE(write(*disk, 12345, "some text", {.force_unit_access = true}));
  std::string got(9, '-');
  ASSERT_TRUE(read(*disk, 12345, got));
  EXPECT_EQ(got, "some text");
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_TRUE(run(disk->prefetch({0, 4096})));
  EXPECT_EQ(content(path).substr(12345, 9), "some text");
}

TEST_F(FileDriverTest, SharesCachedPages) {
  std::string path = directory_.file("a", std::string(10'000, 'x'));
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  EXPECT_EQ(disk->size_bytes(), 10'240u);
  auto span = disk->try_share(reactor(), {100, 9'900});
  if (!span) GTEST_SKIP() << "the kernel does not report cached pages";
  EXPECT_EQ(span->offset, 100u);
  std::string got(9'900, '-');
  EXPECT_EQ(pread(span->file->fd(), got.data(), got.size(), 100), 9'900);
  EXPECT_EQ(got, std::string(9'900, 'x'));
  EXPECT_EQ(disk->statistics().read.operations(), 1u);
  // Neither the rounded-up bytes nor those behind the end of the disk are in the file.
  EXPECT_FALSE(disk->try_share(reactor(), {100, 10'000}));
  EXPECT_FALSE(disk->try_share(reactor(), {100, 20'000}));
  EXPECT_EQ(disk->statistics().read.operations(), 1u);
}

TEST_F(FileDriverTest, SharesNoPagesThatAreNotCached) {
  std::string path = directory_.file("a", std::string(1 << 20, 'x'));
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  if (!disk->try_share(reactor(), {0, 1 << 20})) GTEST_SKIP() << "the kernel does not report cached pages";
  auto span = disk->try_share(reactor(), {0, 1 << 20});
  ASSERT_TRUE(span);
  struct statfs system{};
  ASSERT_EQ(fstatfs(span->file->fd(), &system), 0);
  if (system.f_type == TMPFS_MAGIC) GTEST_SKIP() << "the file system is its page cache";
  ASSERT_EQ(fdatasync(span->file->fd()), 0);
  ASSERT_EQ(posix_fadvise(span->file->fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_FALSE(disk->try_share(reactor(), {0, 1 << 20}));
}

TEST_F(FileDriverTest, DirectIoIsNotShared) {
  std::string path = directory_.file("a", std::string(1 << 20, 'x'));
  auto disk = open({.filename = path, .direct = true});
  if (disk == nullptr) GTEST_SKIP() << error_;
  EXPECT_FALSE(disk->try_share(reactor(), {0, 4096}));
}

TEST_F(FileDriverTest, RoundsTheSizeUpAndReadsZerosThere) {
  auto disk = open({.filename = directory_.file("a", std::string(1000, 'x'))});
  ASSERT_NE(disk, nullptr) << error_;
  EXPECT_EQ(disk->size_bytes(), 1024u);
  std::string got(100, '-');
  ASSERT_TRUE(read(*disk, 924, got));
  EXPECT_EQ(got, std::string(76, 'x') + std::string(24, '\0'));
  Extents extents;
  ASSERT_TRUE(run(disk->extents({0, 1024}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 1024, .data = true}}));
}

TEST_F(FileDriverTest, ReadsOfATruncatedPartFail) {
  std::string path = directory_.file("a", std::string(8192, 'x'));
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  std::filesystem::resize_file(path, 4096);
  std::string got(8192, '-');
  EXPECT_EQ(read(*disk, 0, got).error(), Errno(EIO));
  got.resize(4096);
  EXPECT_TRUE(read(*disk, 0, got));
}

// A client that copies only data must receive the error.
TEST_F(FileDriverTest, ATruncatedPartIsNotAHole) {
  std::string path = directory_.sparse_file("a", 1 << 20);
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  ASSERT_TRUE(write(*disk, 0, std::string(4096, 'x')));
  Extents before;
  ASSERT_TRUE(run(disk->extents({8192, 65536}, before)));
  EXPECT_TRUE(before.front().zero);
  std::filesystem::resize_file(path, 16384);
  Extents after;
  ASSERT_TRUE(run(disk->extents({8192, 65536}, after)));
  EXPECT_EQ(after, (Extents{{.length = 8192, .data = false, .zero = true}, {.length = 57344, .data = true}}));
  Extents beyond;
  ASSERT_TRUE(run(disk->extents({32768, 4096}, beyond)));
  EXPECT_EQ(beyond, (Extents{{.length = 4096, .data = true}}));
}

TEST_F(FileDriverTest, TryVerbsServeFromThePageCache) {
  const std::string path = directory_.file("a", std::string(1000, 'x'));
  if (!aio::testing::reads_without_waiting(path)) GTEST_SKIP() << "this file system reads nothing without waiting";
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  std::string text(512, 'y');
  iovec vector{text.data(), text.size()};
  EXPECT_TRUE(disk->try_write(reactor(), {0, 512}, IoBuffers(&vector, 1)));
  std::ranges::fill(text, '-');
  EXPECT_TRUE(disk->try_read(reactor(), {0, 512}, IoBuffers(&vector, 1)));
  EXPECT_EQ(text, std::string(512, 'y'));
  // The last part is not in the file.
  EXPECT_EQ(disk->try_read(reactor(), {512, 512}, IoBuffers(&vector, 1)).error(), Errno(EAGAIN));
}

// A file system in memory has no flag for reads that must not wait.
TEST_F(FileDriverTest, AFileSystemInMemoryIsAsGoodAsThePageCache) {
  OwnedFd memory(memfd_create("disk", MFD_CLOEXEC));
  ASSERT_TRUE(memory);
  const std::string content(1 << 20, 'x');
  ASSERT_EQ(::write(memory.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  auto disk = open({.filename = "/proc/self/fd/" + std::to_string(memory.get())});
  ASSERT_NE(disk, nullptr) << error_;
  std::string text(content.size(), '-');
  iovec vector{text.data(), text.size()};
  EXPECT_TRUE(disk->try_read(reactor(), {0, text.size()}, IoBuffers(&vector, 1)));
  EXPECT_EQ(text, content);
  if (!disk->try_share(reactor(), {0, 1 << 20})) GTEST_SKIP() << "the kernel does not report cached pages";
}

aio::Task<void> count_turns(int& turns, const bool& done) {
  while (!done) {
    ++turns;
    co_await aio::next_turn();
  }
}

aio::Task<void> read_and_tell(Node& node, Range range, iovec vector, IoResult& result, bool& done) {
  result = co_await node.read(range, IoBuffers(&vector, 1));
  done = true;
}

TEST_F(FileDriverTest, ALongReadFromThePageCacheYieldsToOtherTasks) {
  constexpr std::uint64_t kLength = Node::kReadAtOnceBytesMax + 100;
  std::string content(kLength + 10, '-');
  for (std::size_t i = 0; i < content.size(); i++) content[i] = static_cast<char>('a' + i % 23);
  const std::string path = directory_.file("a", content);
  if (!aio::testing::reads_without_waiting(path)) GTEST_SKIP() << "this file system reads nothing without waiting";
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  std::string got(kLength, '-');
  IoResult result = fail(EIO);
  bool done = false;
  int turns = 0;
  start(read_and_tell(*disk, {10, kLength}, iovec{got.data(), got.size()}, result, done));
  start(count_turns(turns, done));
  until_idle();
  EXPECT_TRUE(result.has_value());
  EXPECT_TRUE(got == content.substr(10, kLength));
  EXPECT_GE(turns, static_cast<int>(kLength / Node::kReadPieceBytes));
  EXPECT_EQ(disk->statistics().read.operations(), 1u);
}

TEST_F(FileDriverTest, GrowsByWritesZeroesAndOnRequest) {
  const std::string path = directory_.file("a", std::string(1000, 'x'));
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  EXPECT_EQ(write(*disk, 5000, "text").error(), Errno(ENOSPC));
  EXPECT_TRUE(write(*disk, 5000, "text", {.may_grow = true}));
  EXPECT_EQ(disk->size_bytes(), 5120u);
  EXPECT_EQ(content(path), std::string(1000, 'x') + std::string(4000, '\0') + "text");
  EXPECT_TRUE(write(*disk, 6000, "durable", {.force_unit_access = true, .may_grow = true}));
  EXPECT_TRUE(run(disk->write_zeroes({5002, 3000}, {.may_grow = true})));
  EXPECT_EQ(disk->size_bytes(), 8192u);
  std::string got(8192 - 5000, '-');
  EXPECT_TRUE(read(*disk, 5000, got));
  EXPECT_EQ(got, "te" + std::string(got.size() - 2, '\0'));
  EXPECT_TRUE(run(disk->grow(100'000)));
  EXPECT_EQ(disk->size_bytes(), 100'352u);
  EXPECT_EQ(content(path).size(), 100'000u);
  EXPECT_TRUE(run(disk->grow(10)));
  EXPECT_EQ(content(path).size(), 100'000u);
  Extents found;
  EXPECT_TRUE(run(disk->extents({8192, 4096}, found)));
  EXPECT_EQ(found.size(), 1u);
}

// A node widens a direct write to whole blocks, the last of which may end behind the last byte.
TEST_F(FileDriverTest, ABlockThatEndsBehindTheLastByteDoesNotGrowTheFile) {
  auto disk = open({.filename = directory_.file("a", std::string(5120, 'x'))});
  ASSERT_NE(disk, nullptr) << error_;
  std::string block(4096, 'y');
  iovec vector{block.data(), block.size()};
  EXPECT_TRUE(run(driver_->write({4096, 4096}, IoBuffers(&vector, 1), {})));
  EXPECT_EQ(disk->size_bytes(), 5120u);
  EXPECT_TRUE(run(driver_->write({4096, 4096}, IoBuffers(&vector, 1), {.force_unit_access = true})));
  EXPECT_EQ(disk->size_bytes(), 5120u);
  EXPECT_TRUE(run(driver_->write_zeroes({4096, 4096}, {})));
  EXPECT_EQ(disk->size_bytes(), 5120u);
  std::string got(1024, '-');
  EXPECT_TRUE(read(*disk, 4096, got));
  EXPECT_EQ(got, std::string(1024, '\0'));
}

aio::Task<void> append(Node& node, std::atomic<std::uint64_t>& end, int count) {
  for (int i = 0; i < count; ++i) {
    std::string text(700, static_cast<char>('a' + i % 26));
    iovec vector{text.data(), text.size()};
    const std::uint64_t at = end.fetch_add(text.size());
    EXPECT_TRUE(co_await node.write({at, text.size()}, IoBuffers(&vector, 1), {.may_grow = true}));
    std::string got(text.size(), '-');
    vector = {got.data(), got.size()};
    EXPECT_TRUE(co_await node.read({at, got.size()}, IoBuffers(&vector, 1)));
    EXPECT_EQ(got, text);
  }
}

aio::Task<void> grow_in_steps(Node& node, int count) {
  for (int i = 0; i < count; ++i) EXPECT_TRUE(co_await node.grow(node.size_bytes() + 600));
}

TEST_F(FileDriverTest, GrowingWritesAndAGrowthOnRequestKeepEachOthersData) {
  auto disk = open({.filename = directory_.file("a", "")});
  ASSERT_NE(disk, nullptr) << error_;
  std::atomic<std::uint64_t> end = 0;
  for (int i = 0; i < 4; ++i) start(append(*disk, end, 50));
  start(grow_in_steps(*disk, 200));
  until_idle();
  EXPECT_GE(disk->size_bytes(), 4u * 50 * 700);
}

TEST_F(FileDriverTest, TakesMoreVectorsThanTheKernel) {
  auto disk = open({.filename = directory_.sparse_file("a", 1 << 20)});
  ASSERT_NE(disk, nullptr) << error_;
  std::string text(6000, '\0');
  for (std::size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>('a' + i % 23);
  std::vector<iovec> vectors;
  for (std::size_t i = 0; i < text.size(); i += 2) vectors.push_back({text.data() + i, 2});
  ASSERT_TRUE(run(disk->write({100, 6000}, vectors, {})));
  std::string got(6000, '-');
  ASSERT_TRUE(read(*disk, 100, got));
  EXPECT_EQ(got, text);
}

TEST_F(FileDriverTest, WritesZeroesWithAndWithoutSpace) {
  std::string path = directory_.file("a", std::string(1 << 20, 'x'));
  auto disk = open({.filename = path}, {.discard = block::DiscardMode::kUnmap});
  ASSERT_NE(disk, nullptr) << error_;
  std::uint64_t before = blocks(path);
  ASSERT_TRUE(run(disk->write_zeroes({4096, 65536}, {})));
  EXPECT_EQ(content(path).substr(4095, 65538), "x" + std::string(65536, '\0') + "x");
  EXPECT_EQ(blocks(path), before);
  ASSERT_TRUE(run(disk->write_zeroes({131072, 65536}, {.force_unit_access = true, .may_unmap = true})));
  EXPECT_EQ(content(path).substr(131071, 65538), "x" + std::string(65536, '\0') + "x");
  EXPECT_EQ(blocks(path), before - 128);
}

// It cannot zero a range; it can only punch a hole and allocate its space again.
TEST_F(FileDriverTest, AFileSystemInMemoryKeepsTheSpaceOfZeroes) {
  OwnedFd memory(memfd_create("disk", MFD_CLOEXEC));
  ASSERT_TRUE(memory);
  const std::string content(1 << 20, 'x');
  ASSERT_EQ(::write(memory.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  const std::uint64_t before = blocks(path);
  ASSERT_TRUE(run(disk->write_zeroes({4096, 65536}, {})));
  EXPECT_EQ(blocks(path), before);
  std::string got(65538, '-');
  ASSERT_TRUE(read(*disk, 4095, got));
  EXPECT_EQ(got, "x" + std::string(65536, '\0') + "x");
}

TEST_F(FileDriverTest, DiscardMakesHoles) {
  std::string path = directory_.file("a", std::string(1 << 20, 'x'));
  auto disk = open({.filename = path}, {.discard = block::DiscardMode::kUnmap});
  ASSERT_NE(disk, nullptr) << error_;
  std::uint64_t before = blocks(path);
  ASSERT_TRUE(run(disk->discard({65536, 65536})));
  EXPECT_EQ(blocks(path), before - 128);
  EXPECT_EQ(driver_->file_statistics()->discards_succeeded, 1u);
  EXPECT_EQ(driver_->file_statistics()->discarded_bytes, 65536u);
}

TEST_F(FileDriverTest, DistinguishesHolesFromData) {
  auto disk = open({.filename = directory_.sparse_file("a", 1 << 20)});
  ASSERT_NE(disk, nullptr) << error_;
  ASSERT_TRUE(write(*disk, 65536, std::string(65536, 'x')));
  Extents extents;
  ASSERT_TRUE(run(disk->extents({0, 1 << 20}, extents)));
  Extent hole{.length = 65536, .zero = true};
  Extent data{.length = 65536, .data = true};
  EXPECT_EQ(extents, (Extents{hole, data, {.length = (1 << 20) - 131072, .zero = true}}));
  extents.clear();
  // An answer may end before the range does: here at the end of the cached part.
  ASSERT_TRUE(run(disk->extents({65537, 65535}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 65535, .data = true}}));
  extents.clear();
  ASSERT_TRUE(run(disk->extents({131072, 1}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 1, .zero = true}}));
}

TEST_F(FileDriverTest, CachesHolesUntilTheFileChanges) {
  std::string path = directory_.sparse_file("a", 1 << 20);
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  Extents extents;
  // A recent hole is not in the cache yet; and on some file systems no hole ever is.
  SystemClock clock;
  for (std::uint64_t deadline_ns = clock.now_ns() + 1'000'000'000; extents.empty() && clock.now_ns() < deadline_ns;) {
    Extents asked;
    ASSERT_TRUE(run(disk->extents({0, 1 << 20}, asked)));
    (void)disk->try_extents(reactor(), {4096, 1 << 19}, extents);
  }
  if (extents.empty()) GTEST_SKIP() << "the file system's maps do not last";
  EXPECT_EQ(extents, (Extents{{.length = 1 << 19, .zero = true}}));
  std::fstream(path, std::ios::in | std::ios::out).seekp(8192) << "foreign";
  extents.clear();
  EXPECT_EQ(disk->try_extents(reactor(), {0, 1 << 20}, extents), IoResult(fail(EAGAIN)));
  ASSERT_TRUE(run(disk->extents({8192, 4096}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 4096, .data = true}}));
}

TEST_F(FileDriverTest, TheRoundedEndHasTheKindOfTheLastExtent) {
  auto disk = open({.filename = directory_.sparse_file("a", 10'000)});
  ASSERT_NE(disk, nullptr) << error_;
  Extents extents;
  ASSERT_TRUE(run(disk->extents({0, 10'240}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 10'240, .zero = true}}));
  extents.clear();
  ASSERT_TRUE(run(disk->extents({10'100, 100}, extents)));
  EXPECT_EQ(extents, (Extents{{.length = 100, .data = true}}));
}

TEST_F(FileDriverTest, DirectIoTakesAnyRangeAndMemory) {
  std::string path = directory_.file("a", std::string(1 << 20, 'x'));
  auto disk = open({.filename = path, .direct = true});
  if (disk == nullptr) GTEST_SKIP() << error_;
  EXPECT_GE(disk->limits().request_alignment, 512u);
  std::string text(10000, 'y');
  ASSERT_TRUE(write(*disk, 12345, text));
  std::string got(10002, '-');
  ASSERT_TRUE(read(*disk, 12344, got));
  EXPECT_EQ(got, "x" + text + "x");
  ASSERT_TRUE(run(disk->write_zeroes({12346, 9998}, {})));
  ASSERT_TRUE(read(*disk, 12344, got));
  EXPECT_EQ(got, "xy" + std::string(9998, '\0') + "yx");
}

TEST_F(FileDriverTest, DirectIoReadsTheEndOfAnOddFile) {
  auto disk = open({.filename = directory_.file("a", std::string(5000, 'x')), .direct = true});
  if (disk == nullptr) GTEST_SKIP() << error_;
  std::string got(5120, '-');
  ASSERT_TRUE(read(*disk, 0, got));
  EXPECT_EQ(got, std::string(5000, 'x') + std::string(120, '\0'));
}

TEST_F(FileDriverTest, ResizesTheFile) {
  std::string path = directory_.sparse_file("a", 1 << 20);
  auto disk = open({.filename = path});
  ASSERT_NE(disk, nullptr) << error_;
  ASSERT_TRUE(run(driver_->resize(2 << 20)));
  EXPECT_EQ(disk->size_bytes(), 2u << 20);
  EXPECT_EQ(std::filesystem::file_size(path), 2u << 20);
}

TEST_F(FileDriverTest, OpensReadOnlyWhenAsked) {
  auto disk = open({.filename = directory_.file("a", "text"), .read_only = true});
  ASSERT_NE(disk, nullptr) << error_;
  EXPECT_EQ(run(driver_->resize(1 << 20)).error().message(), "Failed to resize file: Invalid argument");
  std::string got(4, '-');
  EXPECT_TRUE(read(*disk, 0, got));
  EXPECT_EQ(got, "text");
}

}  // namespace
}  // namespace blockexport::drivers
