// BlockRequest: one request of a client in the terms of the block layer, as every wire format decodes it.
//
// A plain value; thread: any. The range was checked against the size that the client knows, not against the node.
#pragma once

#include <cstdint>

#include "block/range.h"

namespace blockexport::exports {

// The seven verbs of a node.
enum class Verb : std::uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kExtents, kPrefetch };

struct BlockRequest {
  Verb verb;
  block::Range range = {};
  bool force_unit_access = false;  // of a write, zeroes or discard: durable before it is answered
  bool may_unmap = false;          // of zeroes
  bool no_fallback = false;        // of zeroes: ENOTSUP rather than writing them

  // Whether its late end could overwrite what somebody else wrote meanwhile.
  bool changes_data() const { return verb == Verb::kWrite || verb == Verb::kWriteZeroes || verb == Verb::kDiscard; }
};

}  // namespace blockexport::exports
