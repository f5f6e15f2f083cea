// Image locks, against another driver of this process and against another program that uses the same bytes, where it is
// installed.
#include "drivers/file/file_locks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "aio/testing/simulation.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Permission;
using block::Permissions;
using block::PermissionSet;

constexpr Permissions kReader{.used = Permission::kConsistentRead};
constexpr Permissions kNothing{};
const Permissions kWriter{.used = Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
                          .shared = Permission::kConsistentRead | Permission::kWriteUnchanged};

// Opens a file for a writer on a simulated disk whose query for locks fails with `error`; returns the result and the
// locks that are held then.
aio::Task<void> open_for_writing(aio::Simulation& simulation, FileLocking locking, std::string& message,
                                 std::string& locks) {
  auto driver = co_await FileDriver::open({.filename = "/image", .locking = locking});
  message = driver ? "" : driver.error().message();
  if (!driver) co_return;
  const Result<> locked = co_await (*driver)->set_permissions(kWriter);
  EXPECT_TRUE(locked);
  locks = simulation.describe_open_files();
}

struct Opened {
  std::string message;
  std::string locks;
};
Opened open_with_lock_error(int error, FileLocking locking) {
  aio::Simulation simulation;
  simulation.make_file("/image", 4096);
  simulation.inject({.kind = aio::OperationKind::kTestLock, .error = error});
  std::unique_ptr<aio::Reactor> reactor = simulation.make_reactor();
  Opened opened;
  aio::testing::run(*reactor, open_for_writing(simulation, locking, opened.message, opened.locks));
  EXPECT_EQ(simulation.open_descriptors(), 0u);
  return opened;
}

// While another process holds locks on the file.
TEST(FileWithoutLocksTest, IsOpenedOnlyIfTheSystemSaysThatItHasNoLocks) {
  for (int error : {EINVAL, ENOSYS, EOPNOTSUPP, ENOLCK}) {
    const Opened opened = open_with_lock_error(error, FileLocking::kAuto);
    EXPECT_EQ(opened.message, "");
    EXPECT_EQ(opened.locks, "/image rw locks\n");
    EXPECT_EQ(open_with_lock_error(error, FileLocking::kOn).message,
              "The file system of '/image' has no locks, which locking=on asks for");
  }
  for (FileLocking locking : {FileLocking::kAuto, FileLocking::kOn}) {
    EXPECT_EQ(open_with_lock_error(EIO, locking).message, "Failed to lock '/image': Input/output error");
  }
}

class FileLocksTest : public block::ReactorTest {
 protected:
  std::unique_ptr<FileDriver> open(FileLocking locking = FileLocking::kAuto) {
    auto driver = run(FileDriver::open({.filename = path_, .locking = locking}));
    EXPECT_TRUE(driver) << driver.error().message();
    return driver ? std::move(*driver) : nullptr;
  }
  // The error's message, or "".
  std::string set(FileDriver& driver, Permissions permissions) {
    auto result = run(driver.set_permissions(permissions));
    if (result) return "";
    hint_ = result.error().hint();
    return result.error().message();
  }
  // The output of qemu-io for `command` on our image; qemu-io exits at once.
  std::string qemu_io(const std::string& flags, const std::string& command) {
    return output_of("qemu-io " + flags + " -f raw -c '" + command + "'");
  }
  // The output of `command` with our image as its argument.
  std::string output_of(const std::string& command) {
    std::string output;
    FILE* pipe = popen(("timeout 20 " + command + " '" + path_ + "' 2>&1").c_str(), "r");
    for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) output.push_back(static_cast<char>(c));
    pclose(pipe);
    return output;
  }
  static bool have_qemu_io() { return std::system("command -v qemu-io >/dev/null 2>&1") == 0; }

  block::TempDir directory_;
  std::string path_ = directory_.sparse_file("image", 1 << 20);
  std::string hint_;
};

TEST_F(FileLocksTest, TwoWritersConflict) {
  auto one = open();
  auto other = open();
  EXPECT_EQ(set(*one, kWriter), "");
  EXPECT_EQ(set(*other, kWriter), "Failed to get \"write\" lock");
  EXPECT_EQ(hint_, "Is another process using the image [" + path_ + "]?");
  EXPECT_EQ(set(*other, kReader), "");
  EXPECT_EQ(set(*one, kNothing), "");
  EXPECT_EQ(set(*other, kWriter), "");
}

TEST_F(FileLocksTest, AnExclusiveUserConflictsWithOtherUsers) {
  auto one = open();
  auto other = open();
  EXPECT_EQ(set(*one, kReader), "");
  EXPECT_EQ(set(*other, {.used = {}, .shared = {}}), "Failed to get shared \"consistent read\" lock");
  EXPECT_EQ(set(*one, {.used = Permission::kResize}), "");
  EXPECT_EQ(set(*other, {.used = {}, .shared = Permission::kWrite}), "Failed to get shared \"resize\" lock");
}

// Other processes lock first, then check, and release: a conflict during that moment is no reason to keep a lock.
TEST_F(FileLocksTest, ReleasingLocksNeedsNoCheck) {
  auto one = open();
  EXPECT_EQ(set(*one, kWriter), "");
  const int fd = ::open(path_.c_str(), O_RDWR);
  struct flock others{.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 4, .l_pid = 0};
  ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &others), 0);
  EXPECT_EQ(set(*one, kReader), "");
  EXPECT_EQ(set(*one, kWriter), "Failed to get \"consistent read\" lock");
  EXPECT_EQ(set(*one, kNothing), "");
  ::close(fd);
  auto other = open();
  EXPECT_EQ(set(*other, kWriter), "");
}

TEST_F(FileLocksTest, AFailedChangeLeavesEverythingAsItWas) {
  auto one = open();
  auto other = open();
  auto third = open();
  EXPECT_EQ(set(*one, kReader), "");
  EXPECT_EQ(set(*other, kReader), "");
  EXPECT_EQ(set(*other, {.used = PermissionSet::all(), .shared = {}}), "Failed to get shared \"consistent read\" lock");
  EXPECT_EQ(set(*third, {.used = PermissionSet::all()}), "");
  EXPECT_EQ(set(*third, kNothing), "");
  EXPECT_EQ(set(*third, {.used = {}, .shared = Permission::kConsistentRead}), "");
}

TEST_F(FileLocksTest, ClosingTheDriverReleasesItsLocks) {
  auto other = open();
  {
    auto one = open();
    EXPECT_EQ(set(*one, kWriter), "");
  }
  EXPECT_EQ(set(*other, kWriter), "");
}

TEST_F(FileLocksTest, LockingCanBeSwitchedOff) {
  auto one = open();
  auto other = open(FileLocking::kOff);
  EXPECT_EQ(set(*one, kWriter), "");
  EXPECT_EQ(set(*other, kWriter), "");
}

TEST_F(FileLocksTest, KeepsAnotherProgramOut) {
  if (!have_qemu_io()) GTEST_SKIP() << "qemu-io is not installed";
  auto driver = open();
  EXPECT_EQ(set(*driver, kWriter), "");
  EXPECT_NE(qemu_io("", "write 0 512").find("Failed to get \"write\" lock"), std::string::npos);
  EXPECT_EQ(set(*driver, kReader), "");
  EXPECT_NE(qemu_io("", "write 0 512").find("wrote 512/512"), std::string::npos);
  EXPECT_EQ(set(*driver, {.used = {}, .shared = {}}), "");
  EXPECT_NE(qemu_io("-r", "read 0 512").find("Failed to get \"consistent read\" lock"), std::string::npos);
}

TEST_F(FileLocksTest, IsKeptOutByAnotherProgram) {
  if (!have_qemu_io()) GTEST_SKIP() << "qemu-io is not installed";
  // qemu-io opens the image, prompts, and keeps it open until its input ends.
  std::string said = directory_.path("said");
  ASSERT_EQ(mkfifo(said.c_str(), 0600), 0);
  FILE* other = popen(("timeout 20 qemu-io -f raw '" + path_ + "' >'" + said + "' 2>&1").c_str(), "w");
  ASSERT_NE(std::ifstream(said).get(), EOF);

  auto driver = open();
  EXPECT_EQ(set(*driver, kWriter), "Failed to get shared \"write\" lock");
  EXPECT_EQ(set(*driver, {.used = {}, .shared = Permission::kWrite}), "Failed to get shared \"consistent read\" lock");
  EXPECT_EQ(set(*driver, {.used = {}, .shared = PermissionSet::all()}), "");
  pclose(other);
  EXPECT_EQ(set(*driver, kWriter), "");
}

}  // namespace
}  // namespace blockexport::drivers
