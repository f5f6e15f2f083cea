// Block devices, tested on a loop device; skipped where none can be set up.
#include <cstdio>

#include "block/node.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::IoBuffers;
using block::Node;
using block::Range;

class HostDeviceTest : public block::ReactorTest {
 protected:
  void SetUp() override {
    set_up();
    if (device_.empty()) GTEST_SKIP() << "no loop device can be set up";
  }
  void TearDown() override {
    if (!device_.empty()) EXPECT_EQ(std::system(("losetup --detach " + device_).c_str()), 0);
    device_.clear();
  }
  // A new loop device over the backing file; empty where that is not allowed.
  void set_up(const std::string& options = "") {
    FILE* pipe = popen(("losetup --find --show " + options + " '" + backing_ + "' 2>/dev/null").c_str(), "r");
    char line[64] = {};
    if (fgets(line, sizeof line, pipe) != nullptr) device_ = std::string(line).substr(0, std::string(line).find('\n'));
    pclose(pipe);
  }
  std::string read(Node& disk, std::uint64_t length) {
    std::string text(length, '-');
    iovec vector{text.data(), text.size()};
    EXPECT_TRUE(run(disk.read({0, length}, IoBuffers(&vector, 1))));
    return text;
  }
  void write(Node& disk, std::string text) {
    iovec vector{text.data(), text.size()};
    EXPECT_TRUE(run(disk.write({0, text.size()}, IoBuffers(&vector, 1), {})));
  }
  std::unique_ptr<Node> open(FileOptions options) {
    options.filename = device_;
    options.type = FileType::kDevice;
    auto driver = run(FileDriver::open(std::move(options)));
    EXPECT_TRUE(driver) << driver.error().message();
    if (!driver) return nullptr;
    return std::make_unique<Node>("disk", std::move(*driver),
                                  block::NodeOptions{.discard = block::DiscardMode::kUnmap});
  }

  block::TempDir directory_;
  std::string backing_ = directory_.file("backing", std::string(1 << 20, 'x'));
  std::string device_;
};

TEST_F(HostDeviceTest, BehavesLikeAFile) {
  for (bool direct : {false, true}) {
    auto disk = open({.direct = direct});
    ASSERT_NE(disk, nullptr);
    EXPECT_EQ(disk->size_bytes(), 1u << 20);
    EXPECT_EQ(disk->driver().format_name(), "host_device");
    std::string text = "some text";
    iovec vector{text.data(), text.size()};
    IoBuffers buffers(&vector, 1);
    ASSERT_TRUE(run(disk->write({5000, text.size()}, buffers, {.force_unit_access = true})));
    std::ranges::fill(text, '-');
    ASSERT_TRUE(run(disk->read({5000, text.size()}, buffers)));
    EXPECT_EQ(text, "some text");
    EXPECT_TRUE(run(disk->write_zeroes({4096, 4096}, {})));
    EXPECT_TRUE(run(disk->write_zeroes({8192, 4096}, {.may_unmap = true})));
    EXPECT_TRUE(run(disk->discard({65536, 65536})));
    ASSERT_TRUE(run(disk->read({5000, text.size()}, buffers)));
    EXPECT_EQ(text, std::string(9, '\0'));
    // A refused part of a block must not make the driver give up the call for whole blocks.
    EXPECT_TRUE(run(disk->write_zeroes({100, 7}, {})));
    EXPECT_TRUE(run(disk->write_zeroes({4096, 4096}, {.no_fallback = true})));
    EXPECT_TRUE(run(disk->flush()));
    block::Extents extents;
    EXPECT_TRUE(run(disk->extents({0, 1 << 20}, extents)));
    ASSERT_EQ(extents.size(), 1u);
    EXPECT_TRUE(extents[0].data);
  }
}

// The kernel zeroes its page cache of a range before it finds that the device has larger blocks.
TEST_F(HostDeviceTest, ZeroesOfPartsOfBlocksAreDoneOrRefused) {
  TearDown();
  set_up("--sector-size 4096");
  if (device_.empty()) GTEST_SKIP() << "no loop device with large blocks can be set up";
  auto disk = open({});
  ASSERT_NE(disk, nullptr);
  for (bool may_unmap : {false, true}) {
    for (Range range : {Range{1536, 512}, {1024, 1536}, {7680, 5120}, {100, 20000}, {4096, 8192}}) {
      write(*disk, std::string(32768, 'x'));
      IoResult zeroed = run(disk->write_zeroes(range, {.may_unmap = may_unmap, .no_fallback = true}));
      std::string expected(32768, 'x');
      if (zeroed) expected.replace(range.offset, range.length, range.length, '\0');
      if (!zeroed) EXPECT_EQ(zeroed.error(), Errno(ENOTSUP));
      EXPECT_EQ(read(*disk, 32768), expected) << range.offset << "+" << range.length << " " << may_unmap;
    }
  }
  // A discard may be ignored, but must not remove bytes outside of its range.
  for (Range range : {Range{1536, 512}, {7680, 5120}}) {
    write(*disk, std::string(32768, 'x'));
    EXPECT_TRUE(run(disk->discard(range)));
    std::string got = read(*disk, 32768);
    EXPECT_EQ(got.substr(0, range.offset), std::string(range.offset, 'x'));
    EXPECT_EQ(got.substr(range.end()), std::string(32768 - range.end(), 'x'));
  }
}

TEST_F(HostDeviceTest, CannotBeResized) {
  auto disk = open({});
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(run(disk->resize(2 << 20)).error().message(), "Cannot grow device files");
  EXPECT_EQ(run(disk->resize(512)).error().message(), "Cannot resize device files");
  EXPECT_TRUE(run(disk->resize(1 << 20)));
}

TEST_F(HostDeviceTest, RequiresADevice) {
  auto refused = run(FileDriver::open({.filename = backing_, .type = FileType::kDevice}));
  EXPECT_EQ(refused.error().message(),
            "'host_device' driver requires '" + backing_ + "' to be either a character or block device");
  auto file = run(FileDriver::open({.filename = device_}));
  EXPECT_EQ(file.error().message(), "'file' driver requires '" + device_ + "' to be a regular file");
}

}  // namespace
}  // namespace blockexport::drivers
