// QuorumOptions: how the children of a quorum node vote. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "schema/block_core.h"

namespace blockexport::drivers {

// Children of one node. Each read has memory for as many pieces (QuorumDriver::kReadPieceBytesMax).
inline constexpr std::size_t kQuorumChildrenMax = 32;

enum class QuorumReading : std::uint8_t {
  kVote,   // reads all children, which vote
  kFirst,  // reads the first child that can be read
};

struct QuorumOptions {
  std::size_t threshold = 1;       // number of children that have to succeed or agree; at most that of the children
  bool must_be_equal = false;      // a difference fails all requests from then on
  bool rewrite_corrupted = false;  // writes the bytes of the majority to other children
  QuorumReading reading = QuorumReading::kVote;
};

// Fails when the options contradict each other or the number of children.
Result<QuorumOptions> quorum_options(const schema::BlockdevOptionsQuorum& options);

}  // namespace blockexport::drivers
