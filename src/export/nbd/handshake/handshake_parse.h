// Parser for payloads of handshake options: returns typed values, or the text of the ERR_INVALID reply.
//
// Pure functions over a complete payload. Every inner length is checked against the payload, which must be used up
// exactly. Thread: any. They never look up an export, and keep no view beyond the life of the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_reader.h"
#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

// "list", "set meta context", ...; "<unknown>" for a number without a meaning.
std::string_view option_name(std::uint32_t option);

// Error texts for payloads whose lengths are inconsistent, and for those that are too long or must be empty.
std::unexpected<std::string> inconsistent_lengths(std::string_view option_name);
std::unexpected<std::string> unexpected_length(std::string_view option_name);

// Reads a 32-bit length and a name of at most kStringBytesMax bytes without NUL.
std::expected<std::string_view, std::string> read_export_name(ByteReader& reader, std::string_view option_name);

// The payload of INFO and GO.
struct InfoRequest {
  std::string_view export_name;
  bool wants_name = false;
  bool wants_block_size = false;  // other requested information is always sent, or ignored
};

std::expected<InfoRequest, std::string> parse_info_request(std::span<const std::byte> payload,
                                                           std::string_view option_name);

}  // namespace blockexport::nbd
