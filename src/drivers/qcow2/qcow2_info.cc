// Qcow2Driver: what it tells about its image for queries.
#include "block/backing_names.h"
#include "drivers/encryption/luks_information.h"
#include "drivers/qcow2/qcow2_driver.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers::qcow2 {
namespace {

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

schema::SnapshotInfo info_of(const Snapshot& snapshot) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  schema::SnapshotInfo info{.id = snapshot.id,
                            .name = snapshot.name,
                            .vm_state_size = as_signed(snapshot.vm_state_bytes),
                            .date_sec = snapshot.date_seconds,
                            .date_nsec = snapshot.date_nanoseconds,
                            .vm_clock_sec = as_signed(snapshot.vm_clock_ns / kSecondNs),
                            .vm_clock_nsec = as_signed(snapshot.vm_clock_ns % kSecondNs)};
  if (snapshot.instruction_count != kNoInstructionCount) info.icount = as_signed(snapshot.instruction_count);
  return info;
}

schema::Qcow2BitmapInfo info_of(const StoredBitmap& bitmap) {
  schema::Qcow2BitmapInfo info{.name = bitmap.name, .granularity = std::uint32_t{1} << bitmap.granularity_bits};
  if ((bitmap.flags & kBitmapInUse) != 0) info.flags.push_back(schema::Qcow2BitmapInfoFlags::kInUse);
  if ((bitmap.flags & kBitmapAuto) != 0) info.flags.push_back(schema::Qcow2BitmapInfoFlags::kAuto);
  return info;
}

schema::ImageInfoSpecificQCow2Encryption encryption_of(const ImageEncryption& encryption) {
  schema::ImageInfoSpecificQCow2Encryption info;
  if (encryption.luks) {
    constexpr auto kIndex = static_cast<std::size_t>(schema::BlockdevQcow2EncryptionFormat::kLuks);
    info.branch.emplace<kIndex>(luks_information(*encryption.luks));
  }
  return info;
}

schema::ImageInfoSpecificQCow2 specific_of(const ImageContent& image, const std::vector<StoredBitmap>& bitmaps) {
  const Header& header = image.header;
  schema::ImageInfoSpecificQCow2 info{.compat = header.version == 2 ? "0.10" : "1.1",
                                      .refcount_bits = std::int64_t{1} << header.refcount_order};
  if (header.compression_type == CompressionType::kZstd) info.compression_type = schema::Qcow2CompressionType::kZstd;
  if (header.version == 2) return info;
  info.lazy_refcounts = header.has_lazy_refcounts();
  info.corrupt = header.is_corrupt();
  info.extended_l2 = header.has_extended_l2();
  info.data_file = image.extensions.data_file_name();
  if (header.has_data_file()) info.data_file_raw = header.has_raw_data_file();
  if (!bitmaps.empty()) {
    info.bitmaps.emplace();
    for (const StoredBitmap& bitmap : bitmaps) info.bitmaps->push_back(info_of(bitmap));
  }
  return info;
}

}  // namespace

std::optional<std::string> Qcow2Driver::backing_name() const {
  if (!image_.backing_name || image_.backing_name->empty()) return image_.backing_name;
  return block::full_backing_name(file().driver().filename(), *image_.backing_name);
}

void Qcow2Driver::describe_image(schema::ImageInfo& info) const {
  const Header& header = image_.header;
  info.cluster_size = as_signed(header.cluster_bytes());
  if (encryption_ != nullptr) info.encrypted = true;
  info.dirty_flag = header.is_dirty();
  if (image_.backing_name) {
    info.backing_filename = *image_.backing_name;
    info.full_backing_filename = block::full_backing_name(file().driver().filename(), *image_.backing_name);
    info.backing_filename_format = image_.extensions.backing_format();
  }
  if (!image_.snapshots.snapshots.empty()) {
    info.snapshots.emplace();
    for (const Snapshot& snapshot : image_.snapshots.snapshots) info.snapshots->push_back(info_of(snapshot));
  }
  constexpr auto kIndex = static_cast<std::size_t>(schema::ImageInfoSpecificKind::kQcow2);
  auto& specific = info.format_specific.emplace().branch.emplace<kIndex>(
      schema::ImageInfoSpecificQCow2Wrapper{specific_of(image_, bitmaps_.directory())});
  if (encryption_ != nullptr) specific.data.encrypt = encryption_of(*encryption_);
}

}  // namespace blockexport::drivers::qcow2
