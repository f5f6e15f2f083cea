// file_limits(): size and alignment limits for requests to a file, from the values that the system reports.
//
// Reported values are limited to fixed bounds, because a file system in user space or a device can report anything.
// Thread: any; arithmetic only.
#pragma once

#include <cstdint>
#include <optional>

#include "block/driver.h"

namespace blockexport::drivers {

// Alignment of direct I/O in bytes. Zero, which is no alignment: the file does not report one.
struct DirectAlignment {
  std::uint32_t memory = 0;
  std::uint32_t offset = 0;
};

// For a file whose preferred or logical block has `block_bytes`. `direct` is set for direct I/O: the reported
// alignment, or zeroes when the system reports none.
block::Limits file_limits(std::uint32_t block_bytes, std::optional<DirectAlignment> direct);

}  // namespace blockexport::drivers
