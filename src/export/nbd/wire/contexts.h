// Meta contexts that exports offer besides dirty bitmaps: their names, and their ids, which are the same on every
// connection.
#pragma once

#include <cstdint>
#include <string_view>

namespace blockexport::nbd {

inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr std::uint32_t kAllocationContextId = 0;
inline constexpr std::string_view kAllocationDepthContext = "qemu:allocation-depth";
inline constexpr std::uint32_t kAllocationDepthContextId = 1;

}  // namespace blockexport::nbd
