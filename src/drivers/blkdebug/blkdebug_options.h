// BlkdebugOptions: options of a node that injects faults. Plain values.
#pragma once

#include <cstdint>
#include <string>

#include "block/permissions.h"
#include "drivers/blkdebug/fault_rules.h"

namespace blockexport::drivers {

// Limits of requests in bytes; 0: none.
struct BlkdebugLimits {
  std::uint64_t alignment = 0;
  std::uint64_t transfer_bytes_max = 0;
  std::uint64_t zeroes_alignment = 0;
  std::uint64_t zeroes_bytes_max = 0;
  std::uint64_t discard_alignment = 0;
  std::uint64_t discard_bytes_max = 0;
};

struct BlkdebugOptions {
  BlkdebugLimits limits = {};
  FaultRuleList rules = {};
  block::PermissionSet take = {};     // used on the child, beside what the users need
  block::PermissionSet unshare = {};  // not shared on the child
};

}  // namespace blockexport::drivers
