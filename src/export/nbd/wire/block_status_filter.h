// Payload of a BLOCK_STATUS request: the length of the range, and the contexts that the client selects for the reply.
//
// Pure functions; the result belongs to one request. Source: the extended-headers extension, "NBD_CMD_BLOCK_STATUS".
// Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

struct BlockStatusFilter {
  std::uint64_t length = 0;                // of the range in bytes, unchecked: see RequestRules::check_status_range()
  std::vector<std::uint32_t> context_ids;  // selected ones, ascending, at least one
};

// Parses the filter in `payload`. Nothing (reply: Refusal::kBadPayload) if its length is wrong, or it names no context,
// a context that is not in `selected`, or one twice.
std::optional<BlockStatusFilter> parse_block_status_payload(std::span<const std::byte> payload,
                                                            std::span<const ContextInfo> selected);

}  // namespace blockexport::nbd
