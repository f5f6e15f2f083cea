// first_difference(): comparison of bytes that several children returned for the same range. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "block/io.h"

namespace blockexport::drivers {

// Offset of the first byte in which `buffers` and `memory` differ; nullopt when they are equal. They are equally long.
std::optional<std::uint64_t> first_difference(block::IoBuffers buffers, std::span<const std::byte> memory);

}  // namespace blockexport::drivers
