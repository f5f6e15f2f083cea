#include "drivers/qcow2/format/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <climits>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "drivers/qcow2/format/extension_area.h"
#include "drivers/qcow2/format/feature_names.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kLaterFieldsOffset = kHeaderBytesVersion3Min + 1;
constexpr std::uint64_t kSnapshotHeadBytes = 40;

// The fields of fixed places, padded with zeros if the file is shorter.
std::array<std::byte, kHeaderBytesVersion3> fixed_fields(Bytes begin) {
  std::array<std::byte, kHeaderBytesVersion3> fields{};
  std::ranges::copy(begin.first(std::min(begin.size(), fields.size())), fields.begin());
  return fields;
}

Result<> check_version_and_cluster(std::uint32_t magic, const Header& header) {
  if (magic != kMagic) return fail("Image is not in qcow2 format");
  if (header.version < 2 || header.version > 3) {
    return fail(fmt::format("Unsupported qcow2 version {}", header.version));
  }
  if (header.cluster_bits < kClusterBitsMin || header.cluster_bits > kClusterBitsMax) {
    return fail(fmt::format("Unsupported cluster size: 2^{}", header.cluster_bits));
  }
  return {};
}

// The fields that both versions have.
Result<Header> read_common_fields(ByteReader& reader) {
  Header header;
  const std::uint32_t magic = reader.u32();
  header.version = reader.u32();
  header.backing_name_offset = reader.u64();
  header.backing_name_bytes = reader.u32();
  header.cluster_bits = reader.u32();
  header.size_bytes = reader.u64();
  header.encryption_method = reader.u32();
  header.l1_entries = reader.u32();
  header.l1_offset = reader.u64();
  header.refcount_table_offset = reader.u64();
  header.refcount_table_clusters = reader.u32();
  header.snapshots = reader.u32();
  header.snapshots_offset = reader.u64();
  TRY(check_version_and_cluster(magic, header));
  return header;
}

// The fields of version 3, and the place of the backing file's name. Gives the byte of the type of compression.
Result<std::uint8_t> read_version3_fields(Header& header, ByteReader& reader, Bytes first_cluster) {
  std::uint8_t compression = 0;
  if (header.version == 2) {
    header.header_bytes = kHeaderBytesVersion2;
  } else {
    header.incompatible_features = reader.u64();
    header.compatible_features = reader.u64();
    header.autoclear_features = reader.u64();
    header.refcount_order = reader.u32();
    header.header_bytes = reader.u32();
    if (header.header_bytes < kHeaderBytesVersion3Min) return fail("qcow2 header too short");
    if (header.header_bytes > kHeaderBytesVersion3Min) compression = reader.u8();
  }
  if (header.header_bytes > header.cluster_bytes()) return fail("qcow2 header exceeds cluster size");
  if (header.header_bytes > kLaterFieldsOffset) {
    header.later_fields.resize(header.header_bytes - kLaterFieldsOffset);
    const Bytes cut = first_cluster.first(std::min<std::size_t>(first_cluster.size(), header.header_bytes));
    if (cut.size() > kLaterFieldsOffset) {
      std::ranges::copy(cut.subspan(kLaterFieldsOffset), header.later_fields.begin());
    }
  }
  if (header.backing_name_offset > header.cluster_bytes()) return fail("Invalid backing file offset");
  return compression;
}

Result<CompressionType> compression_type_of(std::uint8_t type, const Header& header) {
  if (type > static_cast<std::uint8_t>(CompressionType::kZstd)) {
    return fail(fmt::format("qcow2: unknown compression type: {}", type));
  }
  const bool is_flagged = (header.incompatible_features & kIncompatibleCompression) != 0;
  const auto result = static_cast<CompressionType>(type);
  if (result == CompressionType::kZlib && is_flagged) {
    return fail("qcow2: Compression type incompatible feature bit must not be set");
  }
  if (result != CompressionType::kZlib && !is_flagged) {
    return fail("qcow2: Compression type incompatible feature bit must be set");
  }
  return result;
}

// The data of the feature name table, if it is found before anything that is wrong.
Bytes find_feature_names(const Header& header, Bytes first_cluster) {
  ExtensionReader reader(first_cluster, header.header_bytes, header.extensions_end());
  while (true) {
    const auto section = reader.next();
    if (!section || !*section) return {};
    if ((*section)->type == kExtensionFeatureNames) return (*section)->data;
  }
}

Result<> check_features(const Header& header, HeaderUse use, Bytes first_cluster) {
  const std::uint64_t unknown = header.incompatible_features & ~kIncompatibleKnown;
  if (unknown != 0) {
    return fail(fmt::format("Unsupported qcow2 feature(s): {}",
                            incompatible_feature_names(unknown, find_feature_names(header, first_cluster))));
  }
  if (header.is_corrupt() && use == HeaderUse::kReadWrite) {
    return fail("qcow2: Image is corrupt; cannot be opened read/write");
  }
  const std::uint64_t subcluster_bytes =
      header.cluster_bytes() / (header.has_extended_l2() ? kSubclustersPerCluster : 1);
  if (subcluster_bytes < kSectorBytes) return fail(fmt::format("Unsupported subcluster size: {}", subcluster_bytes));
  if (header.refcount_order > kRefcountOrderMax) {
    return fail("Reference count entry width too large; may not exceed 64 bits");
  }
  return {};
}

Result<> check_tables(const Header& header, HeaderUse use) {
  const Geometry geometry = header.geometry();
  if (header.refcount_table_clusters == 0 && use != HeaderUse::kCheck) {
    return fail("Image does not contain a reference count table");
  }
  TRY(check_table(geometry, "Reference count table", header.refcount_table_offset, header.refcount_table_clusters,
                  header.cluster_bytes(), kRefcountTableBytesMax));
  if (use != HeaderUse::kCheck) {
    TRY(check_table(geometry, "Snapshot table", header.snapshots_offset, header.snapshots, kSnapshotHeadBytes,
                    kSnapshotHeadBytes * kSnapshotsMax));
  }
  TRY(check_table(geometry, "Active L1 table", header.l1_offset, header.l1_entries, sizeof(std::uint64_t),
                  kL1BytesMax));
  // The reference takes sizes past INT64_MAX, and fails later, with the same text.
  if (header.size_bytes > INT64_MAX) return fail("Image is too big");
  const std::uint64_t needed = geometry.l1_entries_for(header.size_bytes);
  if (needed > INT_MAX) return fail("Image is too big");
  if (header.l1_entries < needed) return fail("L1 table is too small");
  return {};
}

}  // namespace

Geometry Header::geometry() const {
  return {.cluster_bits = cluster_bits,
          .refcount_order = refcount_order,
          .extended_l2 = has_extended_l2(),
          .zero_flag = version >= 3,
          .data_file = has_data_file()};
}

Result<std::uint64_t> parse_cluster_bytes(Bytes file_begin) {
  const auto fields = fixed_fields(file_begin);
  ByteReader reader(fields);
  TRY_ASSIGN(const Header header, read_common_fields(reader));
  return header.cluster_bytes();
}

Result<Header> parse_header(Bytes first_cluster, HeaderUse use) {
  const auto fields = fixed_fields(first_cluster);
  ByteReader reader(fields);
  TRY_ASSIGN(Header header, read_common_fields(reader));
  TRY_ASSIGN(const std::uint8_t compression, read_version3_fields(header, reader, first_cluster));
  TRY_ASSIGN(header.compression_type, compression_type_of(compression, header));
  TRY(check_features(header, use, first_cluster));
  TRY(check_tables(header, use));
  return header;
}

std::vector<std::byte> encode_header(const Header& header) {
  std::vector<std::byte> bytes(header.header_bytes);
  ByteWriter writer(bytes);
  writer.u32(kMagic);
  writer.u32(header.version);
  writer.u64(header.backing_name_offset);
  writer.u32(header.backing_name_bytes);
  writer.u32(header.cluster_bits);
  writer.u64(header.size_bytes);
  writer.u32(header.encryption_method);
  writer.u32(header.l1_entries);
  writer.u64(header.l1_offset);
  writer.u64(header.refcount_table_offset);
  writer.u32(header.refcount_table_clusters);
  writer.u32(header.snapshots);
  writer.u64(header.snapshots_offset);
  if (header.version == 2) return bytes;
  writer.u64(header.incompatible_features);
  writer.u64(header.compatible_features);
  writer.u64(header.autoclear_features);
  writer.u32(header.refcount_order);
  writer.u32(header.header_bytes);
  if (header.header_bytes <= kHeaderBytesVersion3Min) return bytes;
  writer.u8(static_cast<std::uint8_t>(header.compression_type));
  assert(header.later_fields.size() <= header.header_bytes - kLaterFieldsOffset);
  writer.bytes(header.later_fields);
  return bytes;
}

Result<std::optional<std::string>> parse_backing_name(const Header& header, Bytes first_cluster) {
  if (header.backing_name_offset == 0) return std::nullopt;
  const std::uint64_t space_bytes = header.cluster_bytes() - header.backing_name_offset;
  if (header.backing_name_bytes > std::min<std::uint64_t>(kBackingNameBytesMax, space_bytes)) {
    return fail("Backing file name too long");
  }
  if (header.backing_name_offset >= first_cluster.size()) return std::string();
  const Bytes rest = first_cluster.subspan(static_cast<std::size_t>(header.backing_name_offset));
  ByteReader reader(rest);
  const std::string_view name = reader.text(std::min<std::size_t>(rest.size(), header.backing_name_bytes));
  return std::string(name.substr(0, name.find('\0')));
}

Result<> check_encryption(const Header& header, std::string_view wanted_format) {
  std::string_view method;
  switch (header.encryption_method) {
    case kEncryptionNone:
      if (wanted_format.empty()) return {};
      return fail(fmt::format("No encryption in image header, but options specified format '{}'", wanted_format));
    case kEncryptionAes:
      method = "aes";
      break;
    case kEncryptionLuks:
      method = "luks";
      break;
    default:
      return fail(fmt::format("Unsupported encryption method {}", static_cast<std::int32_t>(header.encryption_method)));
  }
  if (!wanted_format.empty() && wanted_format != method) {
    return fail(fmt::format("Header reported '{}' encryption format but options specify '{}'", method, wanted_format));
  }
  return {};
}

Result<> check_table(const Geometry& geometry, std::string_view name, std::uint64_t offset, std::uint64_t entries,
                     std::uint64_t entry_bytes, std::uint64_t table_bytes_max) {
  if (entries > table_bytes_max / entry_bytes) return fail(fmt::format("{} too large", name));
  if (offset > INT64_MAX - entries * entry_bytes || geometry.offset_in_cluster(offset) != 0) {
    return fail(fmt::format("{} offset invalid", name));
  }
  return {};
}

}  // namespace blockexport::drivers::qcow2
