// crc32c(): the checksum of the blocks of a bitmap store, CRC-32 with the Castagnoli polynomial (RFC 3720, appendix
// B.4).
//
// It detects damage, not forgery. Thread: any. Never allocates; about one byte in a nanosecond or faster.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace blockexport::block {

std::uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace blockexport::block
