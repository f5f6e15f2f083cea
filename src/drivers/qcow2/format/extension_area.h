// ExtensionReader: walks over the header extensions in the first cluster of a qcow2 image.
//
// Borrows the cluster, of any content. Allocates nothing, and ends after at most one step per 8 bytes of the area.
// Thread: any. Source: docs/interop/qcow2.rst of QEMU, "Header extensions".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint32_t kExtensionEnd = 0;
inline constexpr std::uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr std::uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr std::uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr std::uint32_t kExtensionEncryption = 0x0537be77;
inline constexpr std::uint32_t kExtensionDataFile = 0x44415441;

inline constexpr std::size_t kExtensionHeadBytes = 8;

// Length of a section's data with its padding.
constexpr std::uint64_t padded_extension(std::uint64_t bytes) {
  return (bytes + 7) & ~std::uint64_t{7};
}

class ExtensionReader {
 public:
  struct Section {
    std::uint32_t type = kExtensionEnd;
    std::uint32_t bytes = 0;
    std::span<const std::byte> data = {};  // shorter than `bytes` when the file ends before: the rest is zeros
  };

  // `offset` and `end`: the area in the cluster. Bytes that `cluster` lacks count as zeros.
  ExtensionReader(std::span<const std::byte> cluster, std::uint64_t offset, std::uint64_t end)
      : cluster_(cluster), offset_(offset), end_(end) {}

  // nullopt: there are no more. An error: a section does not lie in the area.
  Result<std::optional<Section>> next();

 private:
  std::span<const std::byte> part(std::uint64_t bytes) const;

  std::span<const std::byte> cluster_;
  std::uint64_t offset_;
  std::uint64_t end_;
};

}  // namespace blockexport::drivers::qcow2
