#include "drivers/file/file_identity.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/owned_fd.h"
#include "block/testing/temp_dir.h"

namespace blockexport::drivers {
namespace {

using block::ImageIdentity;

class FileIdentityTest : public testing::Test {
 protected:
  ImageIdentity of_file(const std::string& path) {
    const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    auto found = identity_of_file(file.get());
    EXPECT_TRUE(found);
    return found.value_or(ImageIdentity());
  }
  // An attribute of a device, in a copy of the kernel's directory.
  void set(const std::string& name, const std::string& value) {
    const std::filesystem::path file(directory_.path(name));
    std::filesystem::create_directories(file.parent_path());
    directory_.file(name, value + "\n");
  }
  std::expected<ImageIdentity, Errno> of_device(const std::string& boot_id = "b1") {
    return identity_of_device(directory_.path("sys"), boot_id, 8, 1);
  }

  block::TempDir directory_;
};

TEST_F(FileIdentityTest, ACopyOfAFileHasAnotherIdentity) {
  const std::string path = directory_.file("a", "content");
  const std::string copy = directory_.path("b");
  std::filesystem::copy(path, copy);
  EXPECT_EQ(of_file(path), of_file(path));
  EXPECT_NE(of_file(path).identity, of_file(copy).identity);
}

TEST_F(FileIdentityTest, AChangeOfAFileChangesItsGenerationOnly) {
  const std::string path = directory_.file("a", "content");
  const ImageIdentity before = of_file(path);
  // The times of a writer that hides its change.
  timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  const ImageIdentity after = of_file(path);
  EXPECT_EQ(before.identity, after.identity);
  EXPECT_NE(before.generation, after.generation);
}

TEST_F(FileIdentityTest, ADeviceWithoutALastingNameHasNoIdentity) {
  set("sys/dev/block/8:1/stat", "1 2 3");
  EXPECT_EQ(of_device().error(), Errno(ENODATA));
  set("sys/dev/block/8:1/serial", "");
  EXPECT_EQ(of_device().error(), Errno(ENODATA));
}

TEST_F(FileIdentityTest, ADeviceIsKnownByTheBestNameThatTheKernelHas) {
  set("sys/dev/block/8:1/loop/backing_file", "/srv/a.img");
  set("sys/dev/block/8:1/loop/offset", "4096");
  EXPECT_EQ(of_device()->identity, "loop /srv/a.img offset 4096");
  set("sys/dev/block/8:1/serial", "S123   ");
  EXPECT_EQ(of_device()->identity, "serial S123");
  set("sys/dev/block/8:1/wwid", "eui.0025");
  EXPECT_EQ(of_device()->identity, "wwid eui.0025");
  set("sys/dev/block/8:1/dm/uuid", "LVM-xyz");
  EXPECT_EQ(of_device()->identity, "dm LVM-xyz");
}

TEST_F(FileIdentityTest, APartitionIsKnownByItsDiskAndItsStart) {
  set("sys/devices/disk/wwid", "eui.0025");
  set("sys/devices/disk/part/partition", "1");
  set("sys/devices/disk/part/start", "2048");
  std::filesystem::create_directories(directory_.path("sys/dev/block"));
  std::filesystem::create_symlink("../../devices/disk/part", directory_.path("sys/dev/block/8:1"));
  EXPECT_EQ(of_device()->identity, "wwid eui.0025 part at 2048");
}

TEST_F(FileIdentityTest, WritesAndDiscardsChangeTheGenerationOfADeviceAndReadsDoNot) {
  set("sys/dev/block/8:1/wwid", "w");
  set("sys/dev/block/8:1/diskseq", "9");
  set("sys/dev/block/8:1/stat", "  10 1 80 5 20 2 160 7 0 9 9 3 0 24 1 4 1");
  const std::string before = of_device()->generation;
  EXPECT_EQ(before, "boot b1 disk 9\n20 160 3 24 ");
  set("sys/dev/block/8:1/stat", "  11 2 88 6 20 2 160 7 0 9 9 3 0 24 1 5 2");
  EXPECT_EQ(of_device()->generation, before);
  set("sys/dev/block/8:1/stat", "  10 1 80 5 21 2 168 7 0 9 9 3 0 24 1 4 1");
  EXPECT_NE(of_device()->generation, before);
  set("sys/dev/block/8:1/stat", "  10 1 80 5 20 2 160 7 0 9 9 4 0 32 1 4 1");
  EXPECT_NE(of_device()->generation, before);
  EXPECT_EQ(of_device("b2")->generation.substr(0, 15), "boot b2 disk 9\n") << "counters of another boot";
}

}  // namespace
}  // namespace blockexport::drivers
