#include "drivers/foreign/format/parallels_format.h"

#include <fmt/format.h>

#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::string_view kOldMagic = "WithoutFreeSpace";
constexpr std::string_view kMagic = "WithouFreSpacExt";
constexpr std::uint32_t kVersion = 2;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kExtensionMagic = 0xab234cef23dcea87;

// "Image File Header"; integers are little-endian.
constexpr std::uint64_t kVersionAt = 16;
constexpr std::uint64_t kClusterSectorsAt = 28;
constexpr std::uint64_t kEntriesAt = 32;
constexpr std::uint64_t kDiskSectorsAt = 36;
constexpr std::uint64_t kExtensionAt = 56;

constexpr std::uint64_t kSectorsMax = (std::uint64_t{1} << 62) / kSectorBytes;

}  // namespace

BlockTable ParallelsHeader::table() const {
  return {.form = EntryForm::kParallels,
          .block_bytes = cluster_bytes,
          .block_count = blocks_for(disk_bytes, cluster_bytes),
          .table_offset = kParallelsHeaderBytes,
          .unit_bytes = unit_bytes};
}

bool is_parallels(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const std::string_view magic = fields.text(0, kMagic.size());
  return (magic == kMagic || magic == kOldMagic) && fields.le32(kVersionAt) == kVersion;
}

Result<ParallelsHeader> parse_parallels_header(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  if (!is_parallels(bytes)) return fail("Image not in Parallels format");
  const std::uint32_t cluster_sectors = fields.le32(kClusterSectorsAt);
  if (cluster_sectors == 0) return fail("Invalid image: Zero sectors per track");
  if (cluster_sectors > kParallelsClusterSectorsMax) return fail("Invalid image: Too big cluster");
  std::uint64_t sectors = fields.le64(kDiskSectorsAt);
  ParallelsHeader header{.cluster_bytes = cluster_sectors * kSectorBytes, .entries = fields.le32(kEntriesAt)};
  // The older version counts sectors, in a field of half the length.
  if (fields.text(0, kOldMagic.size()) == kOldMagic) {
    header.unit_bytes = kSectorBytes;
    sectors &= UINT32_MAX;
  } else {
    header.unit_bytes = header.cluster_bytes;
  }
  if (header.entries > kParallelsEntriesMax) return fail("Catalog too large");
  if (blocks_for(sectors, cluster_sectors) > header.entries || sectors > kSectorsMax) {
    return fail("Invalid image: Catalog size too small for advertised disk size");
  }
  header.disk_bytes = sectors * kSectorBytes;
  const std::uint64_t extension = fields.le64(kExtensionAt);
  if (extension > kSectorsMax) return fail("Invalid image: Too big offset");
  header.extension_offset = extension * kSectorBytes;
  return header;
}

Result<> check_parallels_extension(std::span<const std::byte> bytes) {
  const std::uint64_t magic = Fields(bytes).le64(0);
  if (magic == kExtensionMagic) return {};
  return fail(fmt::format("Wrong parallels Format Extension magic: {:#x}, expected: {:#x}", magic, kExtensionMagic));
}

}  // namespace blockexport::drivers::foreign
