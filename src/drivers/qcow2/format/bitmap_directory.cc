#include "drivers/qcow2/format/bitmap_directory.h"

#include <fmt/format.h>

#include <cassert>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/printable.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint64_t kHeadBytes = 24;
constexpr std::uint8_t kDirtyTracking = 1;

constexpr std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 7) & ~std::uint64_t{7};
}

struct EntryHead {
  StoredBitmap bitmap = {};
  std::uint8_t type = 0;
  std::uint64_t name_bytes = 0;
  std::uint64_t extra_bytes = 0;
  std::uint64_t all_bytes() const { return padded(kHeadBytes + name_bytes + extra_bytes); }
};

EntryHead read_head(ByteReader& reader) {
  EntryHead head;
  head.bitmap.table_offset = reader.u64();
  head.bitmap.table_entries = reader.u32();
  head.bitmap.flags = reader.u32();
  head.type = reader.u8();
  head.bitmap.granularity_bits = reader.u8();
  head.name_bytes = reader.u16();
  head.extra_bytes = reader.u32();
  return head;
}

bool is_valid(const Header& header, const EntryHead& head) {
  const StoredBitmap& bitmap = head.bitmap;
  const Geometry geometry = header.geometry();
  if (bitmap.table_entries == 0 || bitmap.table_offset == 0 || geometry.offset_in_cluster(bitmap.table_offset) != 0 ||
      bitmap.table_entries > kBitmapTableEntriesMax || bitmap.granularity_bits > kBitmapGranularityBitsMax ||
      bitmap.granularity_bits < kBitmapGranularityBitsMin || (bitmap.flags & ~kBitmapKnownFlags) != 0 ||
      head.name_bytes > kBitmapNameBytesMax || head.type != kDirtyTracking) {
    return false;
  }
  const std::uint64_t data_bytes = bitmap.table_entries * geometry.cluster_bytes();
  if (data_bytes > kBitmapDataBytesMax) return false;
  // An inconsistent bitmap may have the size that the disk had before a resize.
  return (bitmap.flags & kBitmapInUse) != 0 || header.disk_bytes() <= (data_bytes * 8) << bitmap.granularity_bits;
}

}  // namespace

Result<std::vector<StoredBitmap>> parse_bitmap_directory(const Header& header, const BitmapsExtension& extension,
                                                         Bytes bytes) {
  if (bytes.empty()) return fail("Requested bitmap directory size is zero");
  std::vector<StoredBitmap> bitmaps;
  while (!bytes.empty()) {
    if (bytes.size() < kHeadBytes) return fail("Broken bitmap directory");
    if (bitmaps.size() >= extension.bitmaps) return fail("More bitmaps found than specified in header extension");
    ByteReader reader(bytes);
    EntryHead head = read_head(reader);
    if (head.all_bytes() > bytes.size()) return fail("Broken bitmap directory");
    if (head.extra_bytes != 0) return fail("Bitmap extra data is not supported");
    head.bitmap.name = reader.text(static_cast<std::size_t>(head.name_bytes));
    if (!is_valid(header, head)) {
      return fail(
          fmt::format("Bitmap '{}' doesn't satisfy the constraints", printable(head.bitmap.name, kBitmapNameBytesMax)));
    }
    bitmaps.push_back(std::move(head.bitmap));
    bytes = bytes.subspan(static_cast<std::size_t>(head.all_bytes()));
  }
  if (bitmaps.size() != extension.bitmaps) return fail("Less bitmaps found than specified in header extension");
  return bitmaps;
}

std::vector<std::byte> encode_bitmap_directory(std::span<const StoredBitmap> bitmaps) {
  std::uint64_t bytes = 0;
  for (const StoredBitmap& one : bitmaps) bytes += padded(kHeadBytes + one.name.size());
  std::vector<std::byte> result(static_cast<std::size_t>(bytes));
  std::uint64_t offset = 0;
  for (const StoredBitmap& one : bitmaps) {
    assert(one.name.size() <= kBitmapNameBytesMax);
    ByteWriter writer(std::span(result).subspan(static_cast<std::size_t>(offset)));
    writer.u64(one.table_offset);
    writer.u32(one.table_entries);
    writer.u32(one.flags);
    writer.u8(kDirtyTracking);
    writer.u8(one.granularity_bits);
    writer.u16(static_cast<std::uint16_t>(one.name.size()));
    writer.u32(0);
    writer.text(one.name);
    offset += padded(kHeadBytes + one.name.size());
  }
  return result;
}

bool is_valid_bitmap_entry(const Geometry& geometry, std::uint64_t entry) {
  constexpr std::uint64_t kReserved = ~(kBitmapEntryOffsetMask | kBitmapEntryAllOnes);
  if ((entry & kReserved) != 0) return false;
  const std::uint64_t offset = entry & kBitmapEntryOffsetMask;
  if (offset == 0) return true;
  return (entry & kBitmapEntryAllOnes) == 0 && geometry.offset_in_cluster(offset) == 0;
}

}  // namespace blockexport::drivers::qcow2
