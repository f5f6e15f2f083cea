// VMDK images of several files, with compressed grains, and above a parent.
#include <zlib.h>

#include <map>

#include "block/testing/reactor_test.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/testing/sample_images.h"
#include "drivers/qcow2/testing/byte_driver.h"

namespace blockexport::drivers::foreign {
namespace {

using Bytes = std::vector<std::byte>;

constexpr block::NodeOptions kReadOnly{.read_only = true};
constexpr std::size_t kGrain = 65536;

// Gives edges to nodes, also for the names in images; it notes those names.
class NamedOpener final : public block::ChildOpener {
 public:
  void add(const std::string& name, Bytes content) {
    contents_[name] = std::move(content);
    nodes_[name] = std::make_unique<block::Node>(name, std::make_unique<qcow2::ByteDriver>(contents_[name]), kReadOnly);
  }
  void add(const std::string& name, std::unique_ptr<block::Driver> driver) {
    nodes_[name] = std::make_unique<block::Node>(name, std::move(driver), kReadOnly);
  }

  aio::Task<Result<std::unique_ptr<block::Edge>>> open_child(const schema::BlockdevRef& reference,
                                                             std::string_view name, block::ChildRoles roles) override {
    co_return edge(*reference.reference(), std::string(name), roles);
  }
  aio::Task<Result<std::unique_ptr<block::Edge>>> open_named_child(block::ImageReference reference, const block::Edge&,
                                                                   block::ChildRoles roles) override {
    const bool is_backing = reference.kind == block::ReferenceKind::kBacking;
    named.push_back((is_backing ? "backing" : reference.child) + " " + reference.name + " " + reference.format);
    co_return edge(reference.name, is_backing ? "backing" : reference.child, roles);
  }
  bool is_named_by_image() const override { return false; }
  Result<const block::DirtyBitmap*> find_bitmap(const std::string&, const std::string&) override {
    return fail("no such bitmap");
  }

  std::vector<std::string> named;

 private:
  Result<std::unique_ptr<block::Edge>> edge(const std::string& node, std::string name, block::ChildRoles roles) {
    if (!nodes_.contains(node)) return fail("no such node");
    return std::make_unique<block::Edge>(
        *nodes_[node], block::EdgeParent{.name = std::move(name), .description = "a test", .roles = roles},
        block::Permissions{});
  }

  std::map<std::string, Bytes> contents_;
  std::map<std::string, std::unique_ptr<block::Node>> nodes_;
};

Bytes text(std::string_view words) {
  return ImageBytes().text(0, words).take();
}

std::string descriptor(std::string_view type, std::string_view lines) {
  return "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=ffffffff\ncreateType=\"" + std::string(type) +
         "\"\n" + std::string(lines);
}

class VmdkOpenTest : public block::ReactorTest {
 protected:
  Result<std::unique_ptr<MappedDriver>> open(Bytes file, bool has_backing = true) {
    node.reset();
    opener.add("file", std::move(file));
    schema::BlockdevOptionsGenericCOWFormat options;
    options.file = {"file"};
    if (!has_backing) options.backing = schema::BlockdevRefOrNull{json::Null{}};
    return run(open_vmdk(options, opener));
  }
  void open_node(Bytes file, bool has_backing = true) {
    auto opened = open(std::move(file), has_backing);
    ASSERT_TRUE(opened) << opened.error().message();
    node = std::make_unique<block::Node>("image", std::move(*opened), kReadOnly);
  }
  std::string refusal(Bytes file) {
    auto opened = open(std::move(file));
    return opened ? "" : opened.error().message();
  }
  Bytes read(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    const iovec vector{bytes.data(), bytes.size()};
    const IoResult result = run(node->read({offset, length}, {&vector, 1}));
    EXPECT_TRUE(result) << result.error().value();
    return bytes;
  }
  IoResult try_reading(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    const iovec vector{bytes.data(), bytes.size()};
    return run(node->read({offset, length}, {&vector, 1}));
  }

  NamedOpener opener;
  std::unique_ptr<block::Node> node;
};

// The sample with its first grain compressed.
ImageBytes stream_image(bool has_markers) {
  const Bytes data = sample_data(0, kGrain);
  Bytes compressed(kGrain);
  uLongf length = compressed.size();
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(compressed.data()), &length, reinterpret_cast<const Bytef*>(data.data()),
                     data.size()),
            Z_OK);
  compressed.resize(length);
  ImageBytes image = sample_vmdk();
  image.le32(4, 3).le32(8, has_markers ? 0x30001 : 1).le16(77, 1);
  image.fill(2 * kGrain, kGrain, std::byte{});
  const std::size_t begin = 2 * kGrain + (has_markers ? 12 : 0);
  if (has_markers) image.le64(2 * kGrain, 0).le32(2 * kGrain + 8, static_cast<std::uint32_t>(length));
  image.copy(begin, compressed);
  return image;
}

TEST_F(VmdkOpenTest, CompressedGrainsRead) {
  for (const bool has_markers : {true, false}) {
    open_node(stream_image(has_markers).take());
    EXPECT_EQ(read(0, kGrain), sample_data(0, kGrain));
    EXPECT_EQ(read(1000, 5000), sample_data(1000, 5000));
    EXPECT_EQ(read(kGrain, 512), Bytes(512));
    schema::ImageInfo info;
    node->driver().describe_image(info);
    ASSERT_TRUE(info.format_specific);
    EXPECT_EQ(info.format_specific->as<schema::ImageInfoSpecificKind::kVmdk>().data.create_type, "streamOptimized");
  }
}

TEST_F(VmdkOpenTest, WrongCompressedGrainsFail) {
  for (const std::uint32_t length : {0u, 1u, 200u, 2u * 65536 + 1, UINT32_MAX}) {
    open_node(stream_image(true).le32(2 * kGrain + 8, length).take());
    EXPECT_EQ(try_reading(0, 512), fail(EIO)) << length;
  }
  open_node(stream_image(true).fill(2 * kGrain + 20, 100, std::byte{0xff}).take());
  EXPECT_EQ(try_reading(0, 512), fail(EIO));
}

TEST_F(VmdkOpenTest, TheFooterHasThePlaceOfTheDirectory) {
  ImageBytes image = stream_image(true);
  const ImageBytes header = image;
  image.le64(56, UINT64_MAX);
  const std::size_t end = image.size();
  image.le64(end, 1).le32(end + 12, 3).copy(end + 512, header.span().first(512)).fill(end + 1024, 512, std::byte{});
  open_node(image.take());
  EXPECT_EQ(read(0, kGrain), sample_data(0, kGrain));
}

TEST_F(VmdkOpenTest, ExtentsOfSeveralFilesFollowEachOther) {
  opener.add("flat.vmdk", sample_data(0, 8 * 512));
  opener.add("sparse.vmdk", sample_vmdk().take());
  open_node(text(descriptor("twoGbMaxExtentFlat", "RW 4 FLAT \"flat.vmdk\" 2\nRW 383 SPARSE \"sparse.vmdk\"\n")));
  EXPECT_EQ(opener.named, (std::vector<std::string>{"extents.0 flat.vmdk ", "extents.1 sparse.vmdk "}));
  EXPECT_EQ(node->size_bytes(), 4 * 512 + kSampleVmdkDiskBytes);
  Bytes expected = sample_data(2 * 512, 4 * 512);
  const Bytes grain = sample_data(0, kGrain);
  expected.insert(expected.end(), grain.begin(), grain.end());
  EXPECT_EQ(read(0, 4 * 512 + kGrain), expected);
  EXPECT_EQ(node->driver().children().size(), 3u);
  EXPECT_EQ(node->driver().children().back()->name(), "file");
}

TEST_F(VmdkOpenTest, WrongExtentsAreRefused) {
  opener.add("flat.vmdk", Bytes(4096));
  EXPECT_EQ(refusal(text(descriptor("monolithicFlat", "RW 1 FLAT \"missing.vmdk\" 0\n"))), "no such node");
  EXPECT_EQ(refusal(text(descriptor("monolithicFlat", "RW 1 SPARSE \"flat.vmdk\"\n"))), "Image not in VMDK format");
  EXPECT_EQ(refusal(text(descriptor("monolithicFlat", "RW 9223372036854775807 FLAT \"flat.vmdk\" 0\n"))),
            "Could not refresh total sector count: File too large");
  EXPECT_EQ(refusal(text("hello")), "invalid VMDK image descriptor");
  EXPECT_EQ(refusal({}), "File is too small, not a valid image");
}

Bytes overlay(std::string_view parent_id) {
  std::string words = "# Disk DescriptorFile\nversion=1\nCID=22222222\nparentCID=" + std::string(parent_id) +
                      "\nparentFileNameHint=\"base.vmdk\"\ncreateType=\"monolithicSparse\"\n";
  return sample_vmdk().fill(512, 1024, std::byte{}).text(512, words).take();
}

TEST_F(VmdkOpenTest, BytesThatTheImageLacksAreTheParents) {
  opener.add("base.flat", sample_data(0, kSampleVmdkDiskBytes));
  opener.add("file", text(descriptor("monolithicFlat", "RW 383 FLAT \"base.flat\" 0\n")));
  schema::BlockdevOptionsGenericCOWFormat options;
  options.file = {"file"};
  auto base = run(open_vmdk(options, opener));
  ASSERT_TRUE(base);
  NamedOpener above;
  above.add("base.vmdk", std::move(*base));
  above.add("file", overlay("11111111"));
  auto image = run(open_vmdk(options, above));
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(above.named, std::vector<std::string>{"backing base.vmdk vmdk"});
  node = std::make_unique<block::Node>("image", std::move(*image), kReadOnly);
  EXPECT_EQ(read(0, kSampleVmdkDiskBytes), sample_data(0, kSampleVmdkDiskBytes));
  block::Extents extents;
  ASSERT_TRUE(run(node->extents({kGrain, kGrain}, extents)));
  EXPECT_EQ(extents, (block::Extents{{.length = kGrain, .data = true, .depth = 2}}));
  node.reset();
}

TEST_F(VmdkOpenTest, AParentWithOtherContentIsNotRead) {
  opener.add("base.vmdk", Bytes(kSampleVmdkDiskBytes));
  open_node(overlay("11111111"));
  EXPECT_TRUE(try_reading(0, 512));
  EXPECT_EQ(try_reading(kGrain, 512), fail(EINVAL));
  open_node(overlay("11111111"), false);
  EXPECT_EQ(read(kGrain, 512), Bytes(512));
}

}  // namespace
}  // namespace blockexport::drivers::foreign
