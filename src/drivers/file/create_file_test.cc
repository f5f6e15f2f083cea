#include "drivers/file/create_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "aio/file/open_file.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_locks.h"

namespace blockexport::drivers {
namespace {

using schema::PreallocMode;

// Counts, and cancels at a pause point if the test wants that.
class CountedWork final : public block::LongWork {
 public:
  explicit CountedWork(std::uint64_t cancelled_at = UINT64_MAX) : cancelled_at_(cancelled_at) {}
  aio::Task<IoResult> pause_point() override {
    if (points_++ == cancelled_at_) co_return fail(ECANCELED);
    co_return IoResult();
  }
  void expect(std::uint64_t units) override { expected_ += units; }
  void advance(std::uint64_t units) override { done_ += units; }

  std::uint64_t points() const { return points_; }
  std::uint64_t expected() const { return expected_; }
  std::uint64_t done() const { return done_; }

 private:
  std::uint64_t cancelled_at_;
  std::uint64_t points_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t done_ = 0;
};

class CreateFileTest : public block::ReactorTest {
 protected:
  Result<> create(FileCreation creation, CountedWork& work) { return run(create_file(std::move(creation), work)); }
  Result<> create(FileCreation creation) {
    CountedWork work;
    return create(std::move(creation), work);
  }
  struct stat status() const {
    struct stat found{};
    EXPECT_EQ(stat(path_.c_str(), &found), 0);
    return found;
  }
  std::uint64_t size_bytes() const { return static_cast<std::uint64_t>(status().st_size); }
  std::uint64_t allocated_bytes() const { return static_cast<std::uint64_t>(status().st_blocks) * 512; }
  // True if the file has no other bytes than zeros.
  bool is_zero() const {
    std::ifstream file(path_, std::ios::binary);
    char byte = 0;
    while (file.get(byte)) {
      if (byte != 0) return false;
    }
    return true;
  }

  block::TempDir directory_;
  std::string path_ = directory_.path("new.img");
};

TEST_F(CreateFileTest, AFileHasTheSizeAndOnlyItsFirstBlock) {
  ASSERT_TRUE(create({.filename = path_, .size_bytes = 8u << 20}));
  EXPECT_EQ(size_bytes(), 8u << 20);
  EXPECT_LE(allocated_bytes(), 64u << 10);
  EXPECT_TRUE(is_zero());
  EXPECT_EQ(status().st_mode & 0777, 0644 & ~umask(0));
}

TEST_F(CreateFileTest, EachSizeIsTakenExactly) {
  for (std::uint64_t size : {0u, 1u, 511u, 512u, 1000u, 4096u, 4097u}) {
    for (PreallocMode mode : {PreallocMode::kOff, PreallocMode::kFalloc, PreallocMode::kFull}) {
      ASSERT_TRUE(create({.filename = path_, .size_bytes = size, .preallocation = mode}));
      EXPECT_EQ(size_bytes(), size);
    }
  }
}

TEST_F(CreateFileTest, PreallocationAllocatesEverythingAndCountsIt) {
  for (PreallocMode mode : {PreallocMode::kFalloc, PreallocMode::kFull}) {
    CountedWork work;
    const std::uint64_t size = (3u << 20) + 512;
    ASSERT_TRUE(create({.filename = path_, .size_bytes = size, .preallocation = mode}, work));
    EXPECT_EQ(size_bytes(), size);
    EXPECT_GE(allocated_bytes(), size);
    EXPECT_TRUE(is_zero());
    EXPECT_EQ(work.expected(), size);
    EXPECT_EQ(work.done(), size);
  }
}

TEST_F(CreateFileTest, TheContentOfAnOlderFileIsGone) {
  std::ofstream(path_, std::ios::binary) << std::string(1u << 20, 'x');
  for (PreallocMode mode : {PreallocMode::kOff, PreallocMode::kFalloc, PreallocMode::kFull}) {
    ASSERT_TRUE(create({.filename = path_, .size_bytes = 1u << 20, .preallocation = mode}));
    EXPECT_TRUE(is_zero());
  }
}

TEST_F(CreateFileTest, ACancelledCreationLeavesAnEmptyFile) {
  for (std::uint64_t point = 0; point < 3; ++point) {
    CountedWork work(point);
    const Result<> created =
        create({.filename = path_, .size_bytes = 3u << 20, .preallocation = PreallocMode::kFull}, work);
    ASSERT_FALSE(created);
    EXPECT_EQ(work.points(), point + 1);
    EXPECT_EQ(size_bytes(), 0);
  }
}

TEST_F(CreateFileTest, FailuresAreToldInTheWordsOfTheInterface) {
  const auto error_of = [this](FileCreation creation) {
    const Result<> created = create(std::move(creation));
    return created ? std::string() : created.error().message();
  };
  const std::string missing = directory_.path("missing/new.img");
  EXPECT_EQ(error_of({.filename = missing, .size_bytes = 1}),
            "Could not create '" + missing + "': No such file or directory");
  EXPECT_EQ(error_of({.filename = "", .size_bytes = 1}), "Could not create '': No such file or directory");
  EXPECT_EQ(error_of({.filename = path_, .size_bytes = UINT64_MAX}), "Could not resize file: Invalid argument");
  EXPECT_EQ(error_of({.filename = path_, .size_bytes = 1u << 20, .preallocation = PreallocMode::kMetadata}),
            "Unsupported preallocation mode: metadata");
  FileCreation hinted{.filename = path_, .size_bytes = 1u << 20};
  hinted.extent_size_hint_bytes = std::uint64_t{1} << 33;
  EXPECT_EQ(error_of(std::move(hinted)), "Extent size hint is too large");
}

TEST_F(CreateFileTest, AFileThatAnotherUserMayNotLoseIsUntouched) {
  std::ofstream(path_, std::ios::binary) << "kept";
  const auto file = std::make_shared<const aio::OpenFile>(reactor(), open(path_.c_str(), O_RDWR | O_CLOEXEC));
  FileLocks locks(file, path_);
  ASSERT_TRUE(
      run(locks.change(reactor(), {.used = {}, .shared = block::PermissionSet::all() - block::Permission::kResize})));
  const Result<> created = create({.filename = path_, .size_bytes = 1u << 20});
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().message(), "Failed to get \"resize\" lock");
  EXPECT_EQ(size_bytes(), 4);
}

TEST_F(CreateFileTest, AnotherUserCanHaveTheFileAtOnce) {
  ASSERT_TRUE(create({.filename = path_, .size_bytes = 1u << 20}));
  const auto file = std::make_shared<const aio::OpenFile>(reactor(), open(path_.c_str(), O_RDWR | O_CLOEXEC));
  FileLocks locks(file, path_);
  EXPECT_TRUE(run(locks.change(reactor(), {.used = block::PermissionSet::all(), .shared = {}})));
}

}  // namespace
}  // namespace blockexport::drivers
