#include "drivers/qcow2/bitmaps/extension_change.h"

#include <algorithm>
#include <utility>

#include "base/byte_writer.h"
#include "base/error.h"
#include "drivers/qcow2/format/extension_area.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;

// Offsets of two fields of the header; docs/interop/qcow2.rst, "Header".
constexpr std::uint64_t kBackingNameOffsetField = 8;
constexpr std::uint64_t kAutoclearField = 88;
// Length of the data of the bitmaps extension.
constexpr std::uint64_t kSectionBytes = 24;

std::uint64_t next_sector(std::uint64_t offset) {
  return (offset + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

bool crosses_sectors(std::uint64_t offset, std::uint64_t bytes) {
  return offset / kSectorBytes != (offset + bytes - 1) / kSectorBytes;
}

Bytes u64_bytes(std::uint64_t value) {
  Bytes bytes(sizeof(value));
  ByteWriter(bytes).u64(value);
  return bytes;
}

Bytes content_of(const BitmapsExtension& bitmaps) {
  HeaderExtensions made;
  made.set_bitmaps(bitmaps);
  return made.list.front().data;
}

class Plan {
 public:
  Plan(std::span<const std::byte> cluster, const Header& header, HeaderExtensions extensions)
      : cluster_(cluster), header_(header), extensions_(std::move(extensions)), end_mark_(header.header_bytes) {
    for (const HeaderExtension& one : extensions_.list) {
      if (one.type == kExtensionBitmaps) section_ = end_mark_;
      last_ = end_mark_;
      end_mark_ += kExtensionHeadBytes + padded_extension(one.data.size());
    }
  }

  std::expected<std::vector<HeaderWrite>, Errno> remove() {
    if (is_valid()) set_valid(false);
    // A section without the bit tells programs that bitmaps were lost. One that others follow has to stay.
    if (section_ && *section_ == last_) add(*section_, Bytes(kExtensionHeadBytes));
    return std::move(writes_);
  }

  std::expected<std::vector<HeaderWrite>, Errno> set(const BitmapsExtension& bitmaps) {
    if (section_) {
      change(*section_ + kExtensionHeadBytes, content_of(bitmaps));
    } else {
      TRY(append(bitmaps));
    }
    if (!is_valid()) set_valid(true);
    return std::move(writes_);
  }

 private:
  bool is_valid() const { return (autoclear_ & kAutoclearBitmaps) != 0; }
  void set_valid(bool is_valid) {
    autoclear_ = is_valid ? autoclear_ | kAutoclearBitmaps : autoclear_ & ~kAutoclearBitmaps;
    add(kAutoclearField, u64_bytes(autoclear_));
  }

  void add(std::uint64_t offset, Bytes bytes) { writes_.push_back({.offset = offset, .bytes = std::move(bytes)}); }

  void change(std::uint64_t offset, Bytes content) {
    if (is_valid() && crosses_sectors(offset, content.size())) set_valid(false);
    add(offset, std::move(content));
  }

  std::expected<void, Errno> append(const BitmapsExtension& bitmaps) {
    if (!has_end_mark()) return fail(ENOTSUP);
    const std::uint64_t end = end_mark_ + 2 * kExtensionHeadBytes + kSectionBytes;
    if (end > header_.extensions_end()) {
      if (cluster_.size() == kSectorBytes) return rewrite(bitmaps);
      if (header_.backing_name_offset == 0) return fail(ENOSPC);
      TRY(move_name(end));
    }
    Bytes behind = content_of(bitmaps);
    behind.resize(behind.size() + kExtensionHeadBytes);  // the new end mark
    add(end_mark_ + kExtensionHeadBytes, std::move(behind));
    Bytes head(kExtensionHeadBytes);
    ByteWriter writer(head);
    writer.u32(kExtensionBitmaps);
    writer.u32(kSectionBytes);
    add(end_mark_, std::move(head));
    return {};
  }

  // Without an end mark the sections reach up to the name of the backing file, and would go on behind a moved one.
  bool has_end_mark() const {
    if (end_mark_ + kExtensionHeadBytes > header_.extensions_end()) return false;
    const auto mark = cluster_.subspan(end_mark_, sizeof(std::uint32_t));
    return std::ranges::all_of(mark, [](std::byte byte) { return byte == std::byte{0}; });
  }

  // To the first sectors behind `end` that do not have it now.
  std::expected<void, Errno> move_name(std::uint64_t end) {
    const std::uint64_t bytes = header_.backing_name_bytes;
    const std::uint64_t old_end = header_.backing_name_offset + bytes;
    if (old_end > cluster_.size()) return fail(EIO);
    std::uint64_t place = next_sector(end);
    if (header_.backing_name_offset < place + bytes && place < old_end) place = next_sector(old_end);
    if (place + bytes > cluster_.size()) return fail(ENOSPC);
    const auto name = cluster_.subspan(header_.backing_name_offset, bytes);
    add(place, Bytes(name.begin(), name.end()));
    add(kBackingNameOffsetField, u64_bytes(place));
    return {};
  }

  // A cluster of one sector is written as a whole.
  std::expected<void, Errno> rewrite(const BitmapsExtension& bitmaps) {
    const std::size_t name_bytes = header_.backing_name_bytes;
    const std::uint64_t name_offset = header_.backing_name_offset;
    if (name_offset + name_bytes > cluster_.size()) return fail(EIO);
    const std::string name(reinterpret_cast<const char*>(cluster_.data() + name_offset), name_bytes);
    Header header = header_;
    header.autoclear_features = autoclear_ | kAutoclearBitmaps;
    extensions_.set_bitmaps(bitmaps);
    // Only people read it.
    extensions_.remove(kExtensionFeatureNames);
    Result<Bytes> begin = encode_file_begin(header, extensions_, name);
    if (!begin) return fail(ENOSPC);
    begin->resize(cluster_.size());
    add(0, std::move(*begin));
    autoclear_ = header.autoclear_features;
    return {};
  }

  std::span<const std::byte> cluster_;
  const Header& header_;
  HeaderExtensions extensions_;
  std::uint64_t autoclear_ = header_.autoclear_features & (kAutoclearKnown | kAutoclearSession);
  std::uint64_t end_mark_;                // where it stands
  std::uint64_t last_ = 0;                // the offset of the last section
  std::optional<std::uint64_t> section_;  // the offset of the bitmaps extension
  std::vector<HeaderWrite> writes_;
};

}  // namespace

std::expected<std::vector<HeaderWrite>, Errno> plan_bitmaps_extension(std::span<const std::byte> first_cluster,
                                                                      const Header& header,
                                                                      const std::optional<BitmapsExtension>& bitmaps) {
  Result<HeaderExtensions> extensions = parse_header_extensions(header, first_cluster);
  if (!extensions) return fail(EIO);
  Plan plan(first_cluster, header, std::move(*extensions));
  return bitmaps ? plan.set(*bitmaps) : plan.remove();
}

}  // namespace blockexport::drivers::qcow2
