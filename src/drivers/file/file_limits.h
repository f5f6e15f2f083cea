// file_limits(): how requests to a file have to be cut and aligned, from what the system tells of it.
//
// What is told is not believed beyond bounds: a file system in user space or a device can tell anything. Thread: any;
// arithmetic only.
#pragma once

#include <cstdint>
#include <optional>

#include "block/driver.h"

namespace blockexport::drivers {

// Of direct I/O, in bytes. Zero, which is no alignment: the file has none.
struct DirectAlignment {
  std::uint32_t memory = 0;
  std::uint32_t offset = 0;
};

// For a file whose preferred or logical block has `block_bytes`. `direct` is there when it is open for direct I/O: what
// the system tells of that, or zeroes when it tells nothing.
block::Limits file_limits(std::uint32_t block_bytes, std::optional<DirectAlignment> direct);

}  // namespace blockexport::drivers
