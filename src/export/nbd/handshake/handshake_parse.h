// Payloads of handshake options to typed values, or to the text of the ERR_INVALID that answers them.
//
// Pure functions over a whole payload. Every length inside is checked against what is there, and nothing may be left
// over. Thread: any. Never looks up an export, never keeps a view longer than the payload lives.
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

// The texts for payloads whose lengths do not add up, and for those that are too long or should be empty.
std::unexpected<std::string> inconsistent_lengths(std::string_view option_name);
std::unexpected<std::string> unexpected_length(std::string_view option_name);

// Reads a 32-bit length and a name of at most kStringBytesMax bytes without NUL.
std::expected<std::string_view, std::string> read_export_name(ByteReader& reader, std::string_view option_name);

// The payload of INFO and GO.
struct InfoRequest {
  std::string_view export_name;
  bool wants_name = false;
  bool wants_block_size = false;  // requests of other kinds are answered unasked or ignored
};

std::expected<InfoRequest, std::string> parse_info_request(std::span<const std::byte> payload,
                                                           std::string_view option_name);

}  // namespace blockexport::nbd
