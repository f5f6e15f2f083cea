// StatusReply: the answer to one BLOCK_STATUS as it grows: what the node says of its range, for every context asked
// for.
//
// Belongs to one request; filled in place as far as the node knows without waiting, by a task from there on.
// Thread: its connection's. Never asks the node itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "block/io.h"
#include "export/nbd/wire/reply_encoder.h"

namespace blockexport::nbd {

class StatusReply {
 public:
  // `range` is not empty; at least one context, and at least one extent for each.
  StatusReply(const Request& request, block::Range range, std::span<const std::uint32_t> context_ids,
              std::size_t extents_max = kExtentsMax);

  // What is still to be asked for; empty when the answer is whole.
  block::Range rest() const { return rest_; }
  bool is_whole() const { return rest_.empty(); }

  // Adds what the node said of rest(), from its start.
  void add(const block::Extents& extents);

  // Bytes that encode() writes, which wants at least one extent.
  std::size_t encoded_bytes() const;
  // The whole reply; the bytes written.
  std::size_t encode(std::span<std::byte> out) const;

 private:
  struct Context {
    std::uint32_t id;
    BlockStatus status;
  };

  block::Range rest_;
  std::vector<Context> contexts_;
};

}  // namespace blockexport::nbd
