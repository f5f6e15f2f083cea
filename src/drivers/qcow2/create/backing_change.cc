#include "drivers/qcow2/create/backing_change.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/byte_writer.h"
#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;

// Of the fields of the header; docs/interop/qcow2.rst, "Header".
constexpr std::uint64_t kBackingNameOffsetField = 8;
constexpr std::uint64_t kBackingNameBytesField = 16;

Bytes bytes_of(std::string_view text, std::uint64_t length) {
  Bytes bytes(length);
  ByteWriter(bytes).text(text);
  return bytes;
}

// Of the section of that format; 0 without one.
std::uint64_t section_bytes(std::string_view format) {
  return format.empty() ? 0 : kExtensionHeadBytes + padded_extension(format.size());
}

std::uint64_t next_sector(std::uint64_t offset) {
  return (offset + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

class Plan {
 public:
  Plan(std::span<const std::byte> cluster, Header header, HeaderExtensions extensions)
      : cluster_(cluster), header_(std::move(header)), extensions_(std::move(extensions)) {
    end_mark_ = header_.header_bytes;
    for (const HeaderExtension& one : extensions_.list) {
      if (one.type == kExtensionBackingFormat) format_ = {end_mark_, one.data.size()};
      end_mark_ += kExtensionHeadBytes + padded_extension(one.data.size());
    }
    sector_.assign(cluster.begin(), cluster.begin() + kSectorBytes);
  }

  std::expected<std::vector<HeaderWrite>, Errno> change(std::string_view name, std::string_view format) {
    if (!has_end_mark()) return fail(ENOTSUP);
    if (name.empty()) {
      refer_to(0, 0);
      return std::move(writes_);
    }
    const bool changes_format = !format.empty() && extensions_.backing_format() != format;
    const bool in_place = changes_format && format_ && fits_in_place(format);
    const bool appends = changes_format && !in_place;
    // A section that cannot be changed in its place is taken away, if it is the last one.
    const std::uint64_t last_end =
        format_ ? format_->offset + kExtensionHeadBytes + padded_extension(format_->bytes) : 0;
    const bool removes = appends && format_;
    if (removes && last_end != end_mark_) return fail(ENOTSUP);
    const std::uint64_t appended = removes ? format_->offset : end_mark_;
    const std::uint64_t area_end =
        std::max(end_mark_, appended + section_bytes(appends ? format : "")) + kExtensionHeadBytes;
    const std::uint64_t place = place_for(name.size(), area_end);
    if (place + name.size() > cluster_.size()) return fail(ENOSPC);
    if (in_place) change_format(format);
    writes_.push_back({place, bytes_of(name, name.size())});
    refer_to(place, static_cast<std::uint32_t>(name.size()));
    if (removes) writes_.push_back({appended, Bytes(kExtensionHeadBytes)});
    if (appends) append_format(appended, format);
    return std::move(writes_);
  }

  // A cluster of one sector is written as a whole.
  std::expected<std::vector<HeaderWrite>, Errno> rewrite(std::string_view name, std::string_view format) {
    if (!name.empty() && !format.empty()) extensions_.set_text(kExtensionBackingFormat, format);
    Result<Bytes> begin = encode_file_begin(header_, extensions_, name);
    if (!begin) return fail(ENOSPC);
    begin->resize(cluster_.size());
    writes_.push_back({0, std::move(*begin)});
    return std::move(writes_);
  }

 private:
  struct Section {
    std::uint64_t offset;
    std::uint64_t bytes;
  };

  // Without an end mark the extensions reach up to the current name, and would go on behind a moved one.
  bool has_end_mark() const {
    if (end_mark_ + kExtensionHeadBytes > header_.extensions_end()) return false;
    const auto mark = cluster_.subspan(end_mark_, sizeof(std::uint32_t));
    return std::ranges::all_of(mark, [](std::byte byte) { return byte == std::byte{0}; });
  }

  // The first sectors behind the extensions that do not have the current name.
  std::uint64_t place_for(std::uint64_t bytes, std::uint64_t area_end) const {
    const std::uint64_t place = next_sector(area_end);
    const std::uint64_t old_end = header_.backing_name_offset + header_.backing_name_bytes;
    const bool overlaps = header_.backing_name_offset < place + bytes && place < old_end;
    return overlaps ? next_sector(old_end) : place;
  }

  // The first sector refers to the name from now on; nothing else in it changes, except the format.
  void refer_to(std::uint64_t offset, std::uint32_t bytes) {
    ByteWriter(std::span(sector_).subspan(kBackingNameOffsetField)).u64(offset);
    ByteWriter(std::span(sector_).subspan(kBackingNameBytesField)).u32(bytes);
    writes_.push_back({0, sector_});
  }

  // True if the section can change together with the fields of the header, which are in the same sector.
  bool fits_in_place(std::string_view format) const {
    const std::uint64_t length = padded_extension(format_->bytes);
    return padded_extension(format.size()) == length && format_->offset + kExtensionHeadBytes + length <= kSectorBytes;
  }

  void change_format(std::string_view format) {
    ByteWriter writer(std::span(sector_).subspan(format_->offset));
    writer.u32(kExtensionBackingFormat);
    writer.u32(static_cast<std::uint32_t>(format.size()));
    writer.bytes(bytes_of(format, padded_extension(format.size())));
  }

  // `offset`: of the end mark, in whose place the section comes.
  void append_format(std::uint64_t offset, std::string_view format) {
    Bytes behind = bytes_of(format, padded_extension(format.size()) + kExtensionHeadBytes);  // with the new end mark
    writes_.push_back({offset + kExtensionHeadBytes, std::move(behind)});
    Bytes head(kExtensionHeadBytes);
    ByteWriter writer(head);
    writer.u32(kExtensionBackingFormat);
    writer.u32(static_cast<std::uint32_t>(format.size()));
    writes_.push_back({offset, std::move(head)});
  }

  std::span<const std::byte> cluster_;
  Header header_;
  HeaderExtensions extensions_;
  std::uint64_t end_mark_ = 0;
  std::optional<Section> format_;
  Bytes sector_;  // the first one, as it will be
  std::vector<HeaderWrite> writes_;
};

}  // namespace

std::expected<std::vector<HeaderWrite>, Errno> plan_backing_change(std::span<const std::byte> first_cluster,
                                                                   std::string_view name, std::string_view format) {
  if (name.size() > kBackingNameBytesMax || format.size() > kBackingFormatBytesMax) return fail(EINVAL);
  Result<Header> header = parse_header(first_cluster, HeaderUse::kReadWrite);
  if (!header) return fail(EIO);
  Result<HeaderExtensions> extensions = parse_header_extensions(*header, first_cluster);
  if (!extensions) return fail(EIO);
  Plan plan(first_cluster, std::move(*header), std::move(*extensions));
  return first_cluster.size() <= kSectorBytes ? plan.rewrite(name, format) : plan.change(name, format);
}

}  // namespace blockexport::drivers::qcow2
