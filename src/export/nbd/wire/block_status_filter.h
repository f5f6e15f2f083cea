// The payload of a BLOCK_STATUS request: the range's true length and the contexts the client wants to hear of.
//
// Pure. Belongs to one request. Source: the extended-headers extension, "NBD_CMD_BLOCK_STATUS". Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

struct BlockStatusFilter {
  std::uint64_t length = 0;                // bytes of the range, not yet checked: RequestRules::check_status_range()
  std::vector<std::uint32_t> context_ids;  // selected ones, ascending, at least one
};

// The filter in `payload`, or nothing (answer: Refusal::kBadPayload) if its length is wrong, it names no context, one
// that `selected` does not have, or one twice.
std::optional<BlockStatusFilter> parse_block_status_payload(std::span<const std::byte> payload,
                                                            std::span<const ContextInfo> selected);

}  // namespace blockexport::nbd
