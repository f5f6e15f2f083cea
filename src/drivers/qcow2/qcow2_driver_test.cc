#include "drivers/qcow2/qcow2_driver.h"

#include <algorithm>
#include <random>

#include "aio/task/current.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/image_builder.h"
#include "drivers/qcow2/testing/node_opener.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Extent;
using block::Extents;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using Bytes = std::vector<std::byte>;

constexpr block::NodeOptions kReadOnly{.read_only = true};

Bytes pattern(std::size_t bytes, std::uint32_t seed) {
  Bytes result(bytes);
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < bytes; i++) result[i] = std::byte(i % 16 == 0 ? random() : i / 64);
  return result;
}

// A node over bytes.
struct MemoryNode {
  MemoryNode(std::string name, Bytes content)
      : state(content.size()), node(std::move(name), std::make_unique<MemoryDriver>(state)) {
    state.bytes = std::move(content);
  }
  MemoryDriverState state;
  Node node;
};

class Qcow2DriverTest : public block::ReactorTest {
 protected:
  // Opens an image; its children are `backing` and `data` if a test has made them.
  Result<std::unique_ptr<Qcow2Driver>> open(Bytes content, schema::BlockdevOptionsQcow2 options = {}) {
    file = std::make_unique<MemoryNode>("file", std::move(content));
    options.file = {"file"};
    std::vector<Node*> nodes = {&file->node};
    if (backing != nullptr && !options.backing) options.backing = schema::BlockdevRefOrNull{"backing"};
    if (backing != nullptr) nodes.push_back(&backing->node);
    if (data != nullptr) options.data_file = schema::BlockdevRef{"data"};
    if (data != nullptr) nodes.push_back(&data->node);
    NodeOpener opener(std::move(nodes));
    return run(open_qcow2(options, kReadOnly, opener, {nullptr, nullptr}));
  }
  std::string refusal(Bytes content, schema::BlockdevOptionsQcow2 options = {}) {
    auto opened = open(std::move(content), std::move(options));
    return opened ? "" : opened.error().message();
  }
  // The node of a sound image.
  Node& node(ImageBuilder& builder) {
    if (!builder.data_file().empty()) data = std::make_unique<MemoryNode>("data", builder.data_file());
    auto opened = open(builder.build());
    EXPECT_TRUE(opened) << opened.error().message();
    if (!opened) std::abort();
    image = std::make_unique<Node>("image", std::move(*opened), kReadOnly);
    return *image;
  }
  Bytes read(Node& from, block::Range range, int error = 0) {
    Bytes result(range.length);
    const iovec vector{result.data(), result.size()};
    const IoResult done = run(from.read(range, block::IoBuffers(&vector, 1)));
    EXPECT_EQ(done ? 0 : done.error().value(), error);
    return result;
  }
  // Reads everything as a whole, in odd pieces with two buffers each, and by try_read().
  void expect_disk(Node& from, const Bytes& disk) {
    ASSERT_EQ(from.size_bytes(), disk.size());
    EXPECT_TRUE(read(from, {0, disk.size()}) == disk);
    std::mt19937 random(7);
    for (int round = 0; round < 40; round++) {
      const std::uint64_t offset = random() % disk.size();
      const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(disk.size() - offset, 200'000);
      Bytes bytes(length);
      const std::size_t cut = random() % length;
      const std::array<iovec, 2> vectors = {iovec{bytes.data(), cut}, iovec{bytes.data() + cut, length - cut}};
      const block::IoBuffers buffers = cut == 0 ? block::IoBuffers(vectors).subspan(1) : block::IoBuffers(vectors);
      ASSERT_TRUE(run(from.read({offset, length}, buffers)));
      ASSERT_TRUE(std::ranges::equal(bytes, std::span(disk).subspan(offset, length))) << offset << "+" << length;
      std::ranges::fill(bytes, std::byte{0x99});
      if (!from.try_read(reactor(), {offset, length}, buffers)) continue;
      ASSERT_TRUE(std::ranges::equal(bytes, std::span(disk).subspan(offset, length))) << offset << "+" << length;
    }
  }
  Extents extents(Node& from) {
    Extents result;
    EXPECT_TRUE(run(from.extents({0, from.size_bytes()}, result)));
    EXPECT_EQ(inline_extents(from), result);
    return result;
  }
  // The same by the inline verb, which may stop anywhere.
  Extents inline_extents(Node& from) {
    Extents all;
    for (std::uint64_t done = 0; done < from.size_bytes();) {
      Extents part;
      const IoResult found = from.try_extents(reactor(), {done, from.size_bytes() - done}, part);
      EXPECT_TRUE(found);
      if (!found) break;
      for (const Extent& extent : part) {
        done += extent.length;
        const bool continues = !all.empty() && all.back().data == extent.data && all.back().zero == extent.zero &&
                               all.back().depth == extent.depth;
        if (continues) {
          all.back().length += extent.length;
        } else {
          all.push_back(extent);
        }
      }
    }
    return all;
  }

  std::unique_ptr<MemoryNode> file;
  std::unique_ptr<MemoryNode> backing;
  std::unique_ptr<MemoryNode> data;
  std::unique_ptr<Node> image;
};

// One image with clusters of every kind that the shape has.
void fill(ImageBuilder& builder, const ImageShape& shape) {
  const std::size_t cluster = builder.geometry().cluster_bytes();
  const std::uint64_t clusters = shape.size_bytes / cluster;
  for (std::uint64_t i = 0; i < clusters; i++) {
    switch (i % 7) {
      case 0:
      case 1:
        builder.data(i, pattern(cluster, static_cast<std::uint32_t>(i)));
        break;
      case 2:
        if (shape.version >= 3) builder.zero(i, i % 2 == 0);
        break;
      case 4:
        if (!shape.data_file) builder.compressed(i, pattern(cluster, static_cast<std::uint32_t>(i)));
        break;
      case 5:
        if (shape.extended_l2) builder.subclusters(i, 0xf0f0'00f1, 0x0f00'f00e, std::byte(i));
        break;
      default:
        break;
    }
  }
}

struct NamedShape {
  std::string name;
  ImageShape shape;
};

std::vector<NamedShape> shapes() {
  std::vector<NamedShape> list;
  for (unsigned bits : {9u, 12u, 16u, 21u}) {
    for (std::uint32_t version : {2u, 3u}) {
      list.push_back({"Clusters" + std::to_string(bits) + "Version" + std::to_string(version),
                      {.version = version, .cluster_bits = bits, .size_bytes = bits == 21 ? 16u << 20 : 1u << 20}});
    }
  }
  for (unsigned order = 0; order <= 6; order++) {
    if (order == 0) continue;  // refcounts of one bit allow no compressed clusters that share a host cluster
    list.push_back({"RefcountOrder" + std::to_string(order), {.cluster_bits = 12, .refcount_order = order}});
  }
  for (unsigned bits : {14u, 16u}) {
    list.push_back({"Extended" + std::to_string(bits), {.cluster_bits = bits, .extended_l2 = true}});
  }
  if (ClusterDecompressor::is_built(CompressionType::kZstd)) {
    list.push_back({"Zstd", {.compression_type = CompressionType::kZstd}});
  }
  list.push_back({"DataFile", {.cluster_bits = 12, .data_file = true}});
  list.push_back({"RawDataFile", {.cluster_bits = 12, .data_file = true, .raw_data_file = true}});
  list.push_back({"ExtendedDataFile", {.cluster_bits = 14, .extended_l2 = true, .data_file = true}});
  return list;
}

class Qcow2ShapeTest : public Qcow2DriverTest, public testing::WithParamInterface<NamedShape> {};

TEST_P(Qcow2ShapeTest, EveryByteIsTheGuests) {
  ImageBuilder builder(GetParam().shape);
  fill(builder, GetParam().shape);
  expect_disk(node(builder), builder.disk());
}

TEST_P(Qcow2ShapeTest, MissingBytesAreTheBackingNodes) {
  if (GetParam().shape.raw_data_file) GTEST_SKIP() << "a raw data file has no backing file";
  ImageBuilder builder(GetParam().shape);
  fill(builder, GetParam().shape);
  const Bytes below = pattern(GetParam().shape.size_bytes / 2 + 777, 99);
  backing = std::make_unique<MemoryNode>("backing", below);
  expect_disk(node(builder), builder.disk(below));
}

TEST_P(Qcow2ShapeTest, ExtentsAgreeWithTheBytes) {
  ImageBuilder builder(GetParam().shape);
  fill(builder, GetParam().shape);
  Node& opened = node(builder);
  const Bytes disk = builder.disk();
  std::uint64_t offset = 0;
  for (const Extent& extent : extents(opened)) {
    ASSERT_LE(offset + extent.length, disk.size());
    EXPECT_EQ(extent.data, !extent.zero);
    const auto part = std::span(disk).subspan(offset, extent.length);
    if (extent.zero) EXPECT_TRUE(std::ranges::all_of(part, [](std::byte one) { return one == std::byte{}; }));
    EXPECT_EQ(extent.depth, extent.data || extent.depth == 1 ? 1u : 0u);
    offset += extent.length;
  }
  EXPECT_EQ(offset, disk.size());
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qcow2ShapeTest, testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

TEST_F(Qcow2DriverTest, SnapshotsAndBitmapsAreListedAndTheDiskIsTheNewest) {
  ImageBuilder builder({.cluster_bits = 12});
  builder.data(0, std::byte{1});
  builder.data(1, std::byte{2});
  builder.add_snapshot("1", "before");
  builder.data(1, std::byte{3});
  builder.add_bitmap("changes", true);
  Node& opened = node(builder);
  expect_disk(opened, builder.disk());
  schema::ImageInfo info;
  opened.driver().describe_image(info);
  ASSERT_TRUE(info.snapshots && info.snapshots->size() == 1);
  EXPECT_EQ((*info.snapshots)[0].name, "before");
  const auto& specific =
      std::get<static_cast<std::size_t>(schema::ImageInfoSpecificKind::kQcow2)>(info.format_specific->branch).data;
  ASSERT_TRUE(specific.bitmaps && specific.bitmaps->size() == 1);
  EXPECT_EQ((*specific.bitmaps)[0].name, "changes");
  EXPECT_EQ((*specific.bitmaps)[0].granularity, 65536u);
  EXPECT_EQ(specific.compat, "1.1");
}

TEST_F(Qcow2DriverTest, ExtentsCountTheLayers) {
  ImageBuilder builder({.cluster_bits = 12, .size_bytes = 6 * 4096});
  builder.data(0, std::byte{1});
  builder.zero(1);
  backing = std::make_unique<MemoryNode>("backing", Bytes(3 * 4096, std::byte{9}));
  const Extents found = extents(node(builder));
  EXPECT_EQ(found, (Extents{{.length = 4096, .data = true, .depth = 1},
                            {.length = 4096, .zero = true, .depth = 1},
                            {.length = 4096, .data = true, .depth = 2},
                            {.length = 3 * 4096, .zero = true, .depth = 2}}));
}

TEST_F(Qcow2DriverTest, WithoutABackingNodeMissingBytesHaveNoLayer) {
  ImageBuilder builder({.cluster_bits = 12, .size_bytes = 2 * 4096});
  builder.data(1, std::byte{1});
  EXPECT_EQ(extents(node(builder)),
            (Extents{{.length = 4096, .zero = true, .depth = 0}, {.length = 4096, .data = true, .depth = 1}}));
}

TEST_F(Qcow2DriverTest, AWrongEntryFailsItsBytesAlone) {
  const std::uint64_t cluster = 4096;
  ImageBuilder builder({.cluster_bits = 12, .size_bytes = 8 * cluster});
  for (std::uint64_t i = 0; i < 8; i++) builder.data(i, std::byte(i + 1));
  builder.set_entry(2, {.descriptor = builder.entry(2).descriptor | 512});  // not at a cluster boundary
  Node& opened = node(builder);
  read(opened, {2 * cluster, cluster}, EIO);
  read(opened, {0, 8 * cluster}, EIO);
  EXPECT_EQ(read(opened, {cluster, cluster}), Bytes(cluster, std::byte{2}));
  EXPECT_EQ(read(opened, {3 * cluster, cluster}), Bytes(cluster, std::byte{4}));
  Extents found;
  EXPECT_EQ(run(opened.extents({2 * cluster, 10}, found)), fail(EIO));
  EXPECT_TRUE(run(opened.extents({0, 8 * cluster}, found)));
  EXPECT_EQ(found, (Extents{{.length = 2 * cluster, .data = true, .depth = 1}}));
}

TEST_F(Qcow2DriverTest, WrongL1EntriesFailTheirBytes) {
  ImageBuilder builder({.cluster_bits = 9, .size_bytes = 128 * 512});
  builder.data(0, std::byte{1});
  builder.data(64, std::byte{2});
  builder.set_l1_entry(0, 0x1000'0000'0000 | 512 | kEntryCopied);
  Node& opened = node(builder);
  // A table past the end of the file reads as zeros, and so as unallocated clusters.
  EXPECT_EQ(read(opened, {0, 512}), Bytes(512));
  EXPECT_EQ(read(opened, {64 * 512, 512}), Bytes(512, std::byte{2}));
}

TEST_F(Qcow2DriverTest, DamagedCompressedBytesFailTheirClusterAlone) {
  ImageBuilder builder({.cluster_bits = 12});
  for (std::uint64_t i = 0; i < 6; i++) builder.compressed(i, pattern(4096, static_cast<std::uint32_t>(i)));
  const ClusterPlace place = place_of(builder.geometry(), builder.entry(3));
  Bytes content = builder.build();
  content[place.host_offset] = std::byte{0xff};
  auto opened = open(content);
  ASSERT_TRUE(opened);
  Node broken("image", std::move(*opened), kReadOnly);
  read(broken, {3 * 4096, 100}, EIO);
  read(broken, {0, 6 * 4096}, EIO);
  EXPECT_EQ(read(broken, {4 * 4096, 4096}), pattern(4096, 4));
}

TEST_F(Qcow2DriverTest, AnErrorOfAChildIsPassedOn) {
  ImageBuilder builder({.cluster_bits = 12});
  builder.data(0, std::byte{1});
  builder.compressed(1, pattern(4096, 1));
  backing = std::make_unique<MemoryNode>("backing", Bytes(1u << 20));
  Node& opened = node(builder);
  read(opened, {0, 3 * 4096});
  file->state.error = ENOSPC;
  read(opened, {0, 10}, ENOSPC);
  read(opened, {4096, 10}, ENOSPC);
  file->state.error = 0;
  backing->state.error = EREMOTEIO;
  read(opened, {0, 3 * 4096}, EREMOTEIO);
}

aio::Task<void> sleep(std::uint64_t duration_ns) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  (void)co_await reactor.sleep_until(reactor.now_ns() + duration_ns);
}

// The memory of tables that nobody uses is given back, and the next request reads them again.
TEST_F(Qcow2DriverTest, UnusedTablesLeaveMemoryAfterTheInterval) {
  ImageBuilder builder({.cluster_bits = 12, .size_bytes = 4096});
  builder.data(0, std::byte{1});
  schema::BlockdevOptionsQcow2 options;
  options.cache_clean_interval = 1;
  auto opened = open(builder.build(), options);
  ASSERT_TRUE(opened) << opened.error().message();
  Qcow2Driver& driver = **opened;
  driver.resume();
  Bytes bytes(512);
  const iovec vector{bytes.data(), bytes.size()};
  block::InlineHints hints;
  ASSERT_TRUE(run(driver.read({0, 512}, {&vector, 1})));
  EXPECT_TRUE(driver.try_read(reactor(), {0, 512}, {&vector, 1}, hints));
  run(sleep(2'500'000'000));
  EXPECT_EQ(driver.try_read(reactor(), {0, 512}, {&vector, 1}, hints), fail(EAGAIN));
  EXPECT_TRUE(run(driver.read({0, 512}, {&vector, 1})));
  EXPECT_EQ(bytes, Bytes(512, std::byte{1}));
  run(driver.quiesce());
}

TEST_F(Qcow2DriverTest, TryReadAnswersWhatIsInMemory) {
  ImageBuilder builder({.cluster_bits = 12, .size_bytes = 5 * 4096});
  builder.data(0, std::byte{1});
  builder.zero(1);
  builder.compressed(2, pattern(4096, 1));
  Node& opened = node(builder);
  Bytes bytes(512);
  const iovec vector{bytes.data(), bytes.size()};
  const block::IoBuffers buffers(&vector, 1);
  EXPECT_EQ(opened.try_read(reactor(), {0, 512}, buffers), fail(EAGAIN));  // the L2 table is not read yet
  read(opened, {0, 1});
  EXPECT_TRUE(opened.try_read(reactor(), {100, 512}, buffers));
  EXPECT_EQ(bytes, Bytes(512, std::byte{1}));
  EXPECT_TRUE(opened.try_read(reactor(), {4096, 512}, buffers));
  EXPECT_EQ(bytes, Bytes(512));
  EXPECT_EQ(opened.try_read(reactor(), {4096 - 100, 512}, buffers), fail(EAGAIN));  // two runs
  EXPECT_EQ(opened.try_read(reactor(), {2 * 4096, 512}, buffers), fail(EAGAIN));    // compressed
  EXPECT_TRUE(opened.try_read(reactor(), {3 * 4096, 512}, buffers));                // unallocated
  EXPECT_EQ(opened.try_share(reactor(), {0, 512}), std::unexpected(Errno(EAGAIN)));
}

TEST_F(Qcow2DriverTest, ChildrenThatTheOptionsLeaveOutAreOpenedByTheirNamesInTheImage) {
  ImageBuilder named({.backing_name = "/etc/passwd", .backing_format = "raw"});
  EXPECT_EQ(refusal(named.build()), "named backing file /etc/passwd raw");
  schema::BlockdevOptionsQcow2 alone;
  alone.backing = schema::BlockdevRefOrNull{json::Null{}};
  EXPECT_EQ(refusal(named.build(), alone), "");
  alone.backing = schema::BlockdevRefOrNull{""};
  EXPECT_EQ(refusal(named.build(), alone), "");
  ImageBuilder external({.data_file = true});
  EXPECT_EQ(refusal(external.build()), "'data-file' is required for this image");
  external.extensions().set_text(kExtensionDataFile, "secret.raw");
  EXPECT_EQ(refusal(external.build()), "named data file secret.raw ");
}

TEST_F(Qcow2DriverTest, ADataFileNeedsAnImageWithOne) {
  data = std::make_unique<MemoryNode>("data", Bytes(1u << 20));
  ImageBuilder plain({});
  EXPECT_EQ(refusal(plain.build()), "'data-file' can only be set for images with an external data file");
  data.reset();
  ImageBuilder contradiction({});
  contradiction.header().autoclear_features |= kAutoclearRawDataFile;
  EXPECT_EQ(refusal(contradiction.build()), "data-file-raw requires a data file");
}

TEST_F(Qcow2DriverTest, ACorruptImageCanOnlyBeRead) {
  ImageBuilder builder({});
  builder.header().incompatible_features |= kIncompatibleCorrupt;
  file = std::make_unique<MemoryNode>("file", builder.build());
  NodeOpener opener({&file->node});
  schema::BlockdevOptionsQcow2 options;
  options.file = {"file"};
  const auto refused = run(open_qcow2(options, {}, opener, {nullptr, nullptr}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "qcow2: Image is corrupt; cannot be opened read/write");
  EXPECT_TRUE(run(open_qcow2(options, kReadOnly, opener, {nullptr, nullptr})));
}

TEST_F(Qcow2DriverTest, BrokenBytesNeverBreakIt) {
  std::mt19937 random(11);
  ImageBuilder builder({.cluster_bits = 9, .size_bytes = 64u << 10});
  fill(builder, {.cluster_bits = 9, .size_bytes = 64u << 10});
  builder.add_snapshot("1", "s");
  builder.add_bitmap("b", false);
  builder.data(3, std::byte{5});
  const Bytes sound = builder.build();
  std::size_t opened_count = 0;
  for (int round = 0; round < 1500; round++) {
    Bytes bytes = sound;
    for (unsigned flips = 1 + random() % 20; flips > 0; flips--) {
      // Half of them in the header and the L1 table.
      const std::size_t at = random() % 2 == 0 ? random() % 1024 : random() % bytes.size();
      bytes[at] ^= std::byte(1u << random() % 8);
    }
    if (random() % 8 == 0) bytes.resize(random() % bytes.size());
    auto opened = open(bytes);
    if (!opened) continue;
    opened_count++;
    if ((*opened)->size_bytes() == 0 || (*opened)->size_bytes() > 1u << 20) continue;
    Node broken("image", std::move(*opened), kReadOnly);
    Bytes content(broken.size_bytes());
    const iovec vector{content.data(), content.size()};
    (void)run(broken.read({0, content.size()}, block::IoBuffers(&vector, 1)));
    Extents found;
    (void)run(broken.extents({0, content.size()}, found));
    (void)run(broken.prefetch({0, content.size()}));
  }
  EXPECT_GT(opened_count, 100u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
