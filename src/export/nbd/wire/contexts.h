// Meta contexts that exports offer: their names, and their ids, which are the same on every connection and are those of
// QEMU's server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace blockexport::nbd {

inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr std::uint32_t kAllocationContextId = 0;
inline constexpr std::string_view kAllocationDepthContext = "qemu:allocation-depth";
inline constexpr std::uint32_t kAllocationDepthContextId = 1;
// The name of a bitmap follows. The bitmaps of an export have ids one after the other, in the order of its options.
inline constexpr std::string_view kBitmapContextPrefix = "qemu:dirty-bitmap:";
inline constexpr std::uint32_t kFirstBitmapContextId = 2;

// Dirty bitmaps that an export can offer.
inline constexpr std::size_t kBitmapsPerExportMax = 1024;

}  // namespace blockexport::nbd
