// BlockRequest: one client request in terms of the block layer; every wire format decodes its requests to it.
//
// A plain value; thread: any. The range was checked against the size that the server announced, not against the node.
#pragma once

#include <cstdint>

#include "block/range.h"

namespace blockexport::exports {

// The seven verbs of a node.
enum class Verb : std::uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kExtents, kPrefetch };

struct BlockRequest {
  Verb verb;
  block::Range range = {};
  bool force_unit_access = false;  // for writes, zeroes and discards: durable before the reply
  bool may_unmap = false;          // for zeroes
  bool no_fallback = false;        // for zeroes: ENOTSUP if they would have to be written as data

  // True if the request, if it ends late, could overwrite newer data of another client.
  bool changes_data() const { return verb == Verb::kWrite || verb == Verb::kWriteZeroes || verb == Verb::kDiscard; }
};

}  // namespace blockexport::exports
