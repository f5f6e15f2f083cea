#include <fmt/format.h>

#include <algorithm>

#include "block/graph.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/format/vmdk_descriptor.h"
#include "drivers/foreign/format/vmdk_sparse.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/opened_file.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kFileBytesMin = 4;
// Of the descriptor in a sparse extent.
constexpr std::uint64_t kEmbeddedDescriptorAt = 0x200;

std::uint64_t whole_sectors(std::uint64_t bytes) {
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

std::string_view as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Error too_large() {
  return Error::system("Could not refresh total sector count", Errno(EFBIG));
}

// Opens one image.
class VmdkOpening {
 public:
  VmdkOpening(const schema::BlockdevOptionsGenericCOWFormat& options, block::ChildOpener& children)
      : options_(options), children_(children) {}

  aio::Task<Result<MappedImage>> open() {
    CO_TRY_ASSIGN(file_, co_await open_file(options_.file, children_));
    CO_TRY_ASSIGN(const std::vector<std::byte> begin, co_await read_begin(*file_, 0));
    if (vmdk_magic(begin) == VmdkMagic::kNone) {
      CO_TRY(co_await open_descriptor(begin));
    } else {
      identity_at_ = kEmbeddedDescriptorAt;
      CO_TRY(co_await open_sparse(*file_, begin, ""));
    }
    CO_TRY(co_await open_parent());
    tell_clusters();
    std::ranges::reverse(image_.files);
    image_.files.push_back(std::move(file_));
    image_.vmdk = std::move(info_);
    co_return std::move(image_);
  }

 private:
  // The descriptor, or the begin of a sparse extent.
  static aio::Task<Result<std::vector<std::byte>>> read_begin(block::Edge& file, std::uint64_t offset) {
    const std::uint64_t file_bytes = whole_sectors(file.node().size_bytes());
    if (file_bytes < kFileBytesMin) co_return fail("File is too small, not a valid image");
    auto bytes = co_await read_bytes(file.node(), offset, std::min<std::uint64_t>(file_bytes, kVmdkDescriptorBytesMax));
    if (!bytes) co_return fail(Error::system("Could not read from file", bytes.error()));
    co_return std::move(*bytes);
  }

  aio::Task<Result<>> open_descriptor(const std::vector<std::byte>& bytes) {
    const std::string_view text = vmdk_text(as_text(bytes));
    CO_TRY_ASSIGN(info_.create_type, parse_vmdk_create_type(text));
    CO_TRY_ASSIGN(const std::vector<VmdkExtentLine> lines, parse_vmdk_extents(text));
    file_->set_roles(block::ChildRole::kMetadata);
    for (const VmdkExtentLine& line : lines) CO_TRY(co_await open_extent(line));
    co_return Result<>();
  }

  aio::Task<Result<>> open_extent(const VmdkExtentLine& line) {
    block::ChildRoles roles = block::ChildRole::kData;
    if (!line.is_flat()) roles = roles | block::ChildRole::kMetadata;
    CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge,
                  co_await children_.open_named_child({.kind = block::ReferenceKind::kExtent,
                                                       .name = line.name,
                                                       .format = {},
                                                       .child = fmt::format("extents.{}", info_.extents.size())},
                                                      *file_, roles));
    image_.files.push_back(std::move(edge));
    block::Edge& file = *image_.files.back();
    if (line.is_flat()) {
      if (line.sectors > INT64_MAX / kSectorBytes || line.offset_sectors > INT64_MAX / kSectorBytes) {
        co_return fail(too_large());
      }
      co_return add_extent({.file = &file, .flat_offset = line.offset_sectors * kSectorBytes, .file_has_holes = true},
                           line.sectors * kSectorBytes, line.type_name);
    }
    CO_TRY_ASSIGN(const std::vector<std::byte> begin, co_await read_begin(file, 0));
    co_return co_await open_sparse(file, begin, line.type_name);
  }

  aio::Task<Result<>> open_sparse(block::Edge& file, const std::vector<std::byte>& begin, std::string type) {
    const VmdkMagic magic = vmdk_magic(begin);
    if (magic == VmdkMagic::kNone) co_return fail("Image not in VMDK format");
    VmdkSparseHeader header;
    if (magic == VmdkMagic::kEsx) {
      CO_TRY_ASSIGN(header, parse_vmfs_header(begin));
    } else {
      header = read_vmdk_header(begin);
      if (header.capacity_sectors == 0 && header.descriptor_sector != 0) {
        co_return co_await open_embedded(file, header);
      }
      CO_TRY(co_await finish_header(file, header));
    }
    if (header.capacity_sectors == 0) co_return add_extent({.file = &file}, 0, std::move(type), &header);
    BlockTable table = header.table();
    const auto directory = co_await read_bytes(file.node(), header.directory_offset, header.directory_entries * 4);
    if (!directory) {
      co_return fail(Error::system(
          fmt::format("Could not read l1 table from extent '{}'", file.node().driver().filename()), directory.error()));
    }
    table.grain_tables = parse_grain_directory(*directory);
    co_return add_extent({.file = &file, .table = std::move(table)}, header.capacity_sectors * kSectorBytes,
                         std::move(type), &header);
  }

  // A sparse extent without a disk has the descriptor of one.
  aio::Task<Result<>> open_embedded(block::Edge& file, const VmdkSparseHeader& header) {
    if (&file != file_.get()) co_return fail("Image not in VMDK format");
    if (header.descriptor_sector > INT64_MAX / 2 / kSectorBytes) {
      co_return fail(Error::system("Could not read from file", Errno(EINVAL)));
    }
    CO_TRY_ASSIGN(const std::vector<std::byte> bytes,
                  co_await read_begin(file, header.descriptor_sector * kSectorBytes));
    co_return co_await open_descriptor(bytes);
  }

  aio::Task<Result<>> finish_header(block::Edge& file, VmdkSparseHeader& header) {
    const std::uint64_t file_bytes = whole_sectors(file.node().size_bytes());
    if (info_.create_type.empty()) info_.create_type = "monolithicSparse";
    if (header.has_footer) {
      if (file_bytes < kVmdkFooterBytes) co_return fail(Error::system("Failed to read footer", Errno(EINVAL)));
      const auto bytes = co_await read_bytes(file.node(), file_bytes - kVmdkFooterBytes, kVmdkFooterBytes);
      if (!bytes) co_return fail(Error::system("Failed to read footer", bytes.error()));
      CO_TRY_ASSIGN(header, parse_vmdk_footer(*bytes));
    }
    if (header.is_compressed) info_.create_type = "streamOptimized";
    co_return check_vmdk_header(header, file_bytes);
  }

  // `header`: of a sparse extent.
  Result<> add_extent(MappedExtent extent, std::uint64_t bytes, std::string type,
                      const VmdkSparseHeader* header = nullptr) {
    if (bytes > block::kNodeBytesMax - disk_bytes_) return fail(too_large());
    schema::VmdkExtentInfo info{.filename = extent.file->node().driver().filename(),
                                .format = std::move(type),
                                .virtual_size = static_cast<std::int64_t>(bytes)};
    if (header != nullptr) info.cluster_size = static_cast<std::int64_t>(header->grain_sectors * kSectorBytes);
    if (header != nullptr && header->is_compressed) info.compressed = true;
    info_.extents.push_back(std::move(info));
    extent.range = {disk_bytes_, bytes};
    disk_bytes_ += bytes;
    if (bytes != 0) image_.extents.push_back(std::move(extent));
    return {};
  }

  aio::Task<Result<>> open_parent() {
    const auto bytes = co_await read_bytes(file_->node(), identity_at_, kVmdkDescriptorBeginBytesMax);
    if (!bytes) co_return fail(could_not_open(*file_, bytes.error()));
    const Result<VmdkIdentity> identity = parse_vmdk_identity(vmdk_text(as_text(*bytes)));
    if (!identity) co_return fail(could_not_open(*file_, Errno(EINVAL)));
    info_.cid = identity->content_id;
    info_.parent_cid = identity->parent_content_id;
    image_.backing_name = identity->parent_name;
    if (options_.backing) {
      const std::optional<schema::BlockdevRef> reference = block::as_reference(*options_.backing);
      if (!reference) co_return Result<>();
      auto backing = co_await children_.open_child(*reference, "backing", block::ChildRole::kBacking);
      if (!backing) co_return fail(std::move(backing).error().with_prefix("Could not open backing file: "));
      image_.backing = std::move(*backing);
      co_return Result<>();
    }
    if (!image_.backing_name || image_.backing_name->empty()) co_return Result<>();
    CO_TRY_ASSIGN(
        image_.backing,
        co_await children_.open_named_child(
            {.kind = block::ReferenceKind::kBacking, .name = *image_.backing_name, .format = "vmdk", .child = {}},
            *file_, block::ChildRole::kBacking));
    co_return Result<>();
  }

  // The reference tells a size of grains only if all extents have the same.
  void tell_clusters() {
    if (info_.extents.empty()) return;
    const schema::VmdkExtentInfo& first = info_.extents.front();
    const bool are_alike = std::ranges::all_of(info_.extents, [&first](const schema::VmdkExtentInfo& one) {
      return one.cluster_size == first.cluster_size && one.compressed == first.compressed;
    });
    image_.shows_dirty_flag = are_alike;
    if (are_alike) image_.cluster_bytes = static_cast<std::uint64_t>(first.cluster_size.value_or(0));
  }

  const schema::BlockdevOptionsGenericCOWFormat& options_;
  block::ChildOpener& children_;
  std::unique_ptr<block::Edge> file_;
  MappedImage image_{.format_name = "vmdk", .extents = {}};
  schema::ImageInfoSpecificVmdk info_;
  std::uint64_t identity_at_ = 0;  // of the part of the descriptor with the IDs
  std::uint64_t disk_bytes_ = 0;
};

}  // namespace

aio::Task<OpenedMapped> open_vmdk(const schema::BlockdevOptionsGenericCOWFormat& options,
                                  block::ChildOpener& children) {
  VmdkOpening opening(options, children);
  CO_TRY_ASSIGN(MappedImage image, co_await opening.open());
  co_return std::make_unique<MappedDriver>(std::move(image));
}

}  // namespace blockexport::drivers::foreign
