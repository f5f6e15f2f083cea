// StatusReply: the reply to one BLOCK_STATUS while it grows: the node's extents in its range, for every requested
// context.
//
// Belongs to one request; filled inline with the extents that the node knows without waiting, and by a task with the
// others. Thread: that of its connection. Never queries the node itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "block/io.h"
#include "export/nbd/wire/reply_encoder.h"

namespace blockexport::nbd {

class StatusReply {
 public:
  // `range` is not empty; there are at least one context, and at least one extent for each.
  StatusReply(const Request& request, block::Range range, std::span<const std::uint32_t> context_ids,
              std::size_t extents_max = kExtentsMax);

  // The range to query next; empty when the reply is complete.
  block::Range rest() const { return rest_; }
  bool is_whole() const { return rest_.empty(); }

  // Adds the node's extents from the start of rest().
  void add(const block::Extents& extents);

  // The number of bytes that encode() writes, which requires at least one extent.
  std::size_t encoded_bytes() const;
  // Writes the complete reply, and returns its size.
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
