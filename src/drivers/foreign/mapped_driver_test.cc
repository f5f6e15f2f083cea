#include "drivers/foreign/mapped_driver.h"

#include <random>

#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "drivers/foreign/testing/sample_images.h"
#include "drivers/foreign/testing/use_image.h"

namespace blockexport::drivers::foreign {
namespace {

using block::Extent;
using Bytes = std::vector<std::byte>;

// A sample, whose first and third block have data.
struct Sample {
  const char* name;
  Format format;
  ImageBytes (*make)();
  std::uint64_t disk_bytes;
  std::uint64_t block_bytes;
  Extent hole;               // without its length
  std::size_t header_bytes;  // where mutations are likely
};

const Extent kZeroHere{.data = false, .zero = true, .depth = 1};

const Extent kNowhere{.data = false, .zero = true, .depth = 0};

const Sample kSamples[] = {
    {"vdi", Format::kVdi, sample_vdi, kSampleVdiDiskBytes, 1u << 20, kZeroHere, 1024},
    {"vpc", Format::kVpc, sample_vpc, kSampleVpcDiskBytes, 65536, kZeroHere, 2048},
    {"vmdk", Format::kVmdk, sample_vmdk, kSampleVmdkDiskBytes, 65536, kNowhere, 17000},
    {"vhdx", Format::kVhdx, sample_vhdx, kSampleVhdxDiskBytes, 1u << 20, kZeroHere, (3u << 20) + (65u << 10)},
    {"parallels", Format::kParallels, sample_parallels, kSampleParallelsDiskBytes, 65536, kNowhere, 76},
};

class MappedDriverTest : public block::ReactorTest, public testing::WithParamInterface<Sample> {
 protected:
  void open(Bytes content) {
    content_ = std::move(content);
    file_ = std::make_unique<block::Node>("file", std::make_unique<qcow2::ByteDriver>(content_), kReadOnlyNode);
    qcow2::NodeOpener opener({file_.get()});
    auto opened = run(open_format(GetParam().format, opener));
    ASSERT_TRUE(opened) << opened.error().message();
    node_ = std::make_unique<block::Node>("image", std::move(*opened), kReadOnlyNode);
  }
  Bytes read(block::Range range) {
    Bytes bytes(range.length);
    const iovec vector{bytes.data(), bytes.size()};
    const IoResult result = run(node_->read(range, {&vector, 1}));
    EXPECT_TRUE(result) << result.error().value();
    return bytes;
  }
  // The disk as it should be.
  static Bytes disk() {
    Bytes bytes = sample_data(0, GetParam().disk_bytes);
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(GetParam().block_bytes), GetParam().block_bytes,
                std::byte{});
    return bytes;
  }

  Bytes content_;
  std::unique_ptr<block::Node> file_;
  std::unique_ptr<block::Node> node_;
};

TEST_P(MappedDriverTest, TheWholeDiskReads) {
  open(GetParam().make().take());
  ASSERT_EQ(node_->size_bytes(), GetParam().disk_bytes);
  EXPECT_TRUE(node_->driver().is_read_only());
  EXPECT_EQ(node_->driver().format_name(), GetParam().name);
  EXPECT_EQ(read({0, GetParam().disk_bytes}), disk());
}

TEST_P(MappedDriverTest, AnyPartOfTheDiskReads) {
  open(GetParam().make().take());
  const Bytes whole = disk();
  std::mt19937_64 random(7);
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t offset = random() % whole.size();
    const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(whole.size() - offset, 5000);
    const auto part = std::span(whole).subspan(offset, length);
    EXPECT_EQ(read({offset, length}), Bytes(part.begin(), part.end())) << offset << '+' << length;
  }
}

TEST_P(MappedDriverTest, ExtentsTellTheHole) {
  open(GetParam().make().take());
  const std::uint64_t block = GetParam().block_bytes;
  block::Extents extents;
  ASSERT_TRUE(run(node_->extents({0, GetParam().disk_bytes}, extents)));
  Extent hole = GetParam().hole;
  hole.length = block;
  EXPECT_EQ(extents,
            (block::Extents{
                {.length = block, .data = true}, hole, {.length = GetParam().disk_bytes - 2 * block, .data = true}}));
}

TEST_P(MappedDriverTest, ReadsFromMemoryFollowTheFirst) {
  open(GetParam().make().take());
  Bytes bytes(4096);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_EQ(node_->try_read(reactor(), {0, 4096}, {&vector, 1}), fail(EAGAIN));
  (void)read({0, 512});
  ASSERT_TRUE(node_->try_read(reactor(), {2 * GetParam().block_bytes - 4096, 4096}, {&vector, 1}));
  EXPECT_EQ(bytes, Bytes(4096));
}

TEST_P(MappedDriverTest, NothingCanBeWritten) {
  open(GetParam().make().take());
  Bytes bytes(512);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_EQ(run(node_->write({0, 512}, {&vector, 1}, {})), fail(EPERM));
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {})), fail(EPERM));
}

// Bytes that headers and tables care for, and bits anywhere.
void damage(Bytes& bytes, std::mt19937_64& random, std::size_t header_bytes) {
  const auto place = [&] { return random() % (random() % 4 == 0 ? bytes.size() : header_bytes); };
  for (std::uint64_t flips = random() % 4; flips > 0; --flips) bytes[place()] ^= std::byte(1u << random() % 8);
  for (std::uint64_t words = random() % 4; words > 0; --words) {
    const std::size_t width = std::size_t{1} << random() % 4;
    const std::size_t at = place() / width * width;
    const std::uint64_t values[] = {0, UINT64_MAX, 1, bytes.size() / 512, bytes.size(), random()};
    std::uint64_t value = values[random() % std::size(values)];
    if (random() % 2 == 0) value = std::byteswap(value) >> (64 - 8 * width);
    for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i) bytes[at + i] = std::byte(value >> (8 * i));
  }
  if (random() % 16 == 0) bytes.resize(1 + random() % bytes.size());
}

TEST_P(MappedDriverTest, EveryRequestToADamagedImageEnds) {
  if (!block::Reactors::are_simulated()) GTEST_SKIP() << "it runs in the simulation";
  const Bytes valid = GetParam().make().take();
  const std::uint64_t rounds = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : aio::testing::seeds_here(300);
  std::uint64_t opened = 0;
  for (std::uint64_t seed = 0; seed < rounds; ++seed) {
    std::mt19937_64 random(seed);
    Bytes content = valid;
    damage(content, random, GetParam().header_bytes);
    const UsedImage used = run(use_image(GetParam().format, content));
    ASSERT_EQ(used.broken, "") << seed;
    opened += used.refusal.empty() ? 1 : 0;
  }
  EXPECT_GT(opened, rounds / 20);
  EXPECT_LT(opened, rounds);
  RecordProperty("count", std::to_string(rounds));
}

INSTANTIATE_TEST_SUITE_P(Formats, MappedDriverTest, testing::ValuesIn(kSamples),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace blockexport::drivers::foreign
