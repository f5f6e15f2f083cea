// StatusReply: the reply to one BLOCK_STATUS while it grows: the extents of the node and of its bitmaps in a range, for
// every requested context.
//
// Belongs to one request; filled inline as far as that takes no wait and little time, and by a task from there on. The
// contexts of bitmaps are filled one after the other, in pieces, each inside the gate of its bitmap. Thread: that of
// its connection. Never queries the node itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "block/held_bitmap.h"
#include "block/io.h"
#include "export/nbd/wire/reply_encoder.h"

namespace blockexport::nbd {

class StatusReply {
 public:
  // `range` is not empty; there are at least one context, and at least one extent for each. `bitmaps` are those of the
  // contexts from kFirstBitmapContextId on, and outlive the reply.
  StatusReply(const Request& request, block::Range range, std::span<const std::uint32_t> context_ids,
              std::size_t extents_max = kExtentsMax, std::span<const block::HeldBitmap> bitmaps = {});

  // The range to query the node for next; empty when the node has answered completely.
  block::Range rest() const { return rest_; }
  // Adds the node's extents from the start of rest().
  void add(const block::Extents& extents);

  // The gate of the bitmap that read_bitmap() reads next; null when all bitmaps are read.
  block::Edge* next_gate() const {
    return next_bitmap_ == contexts_.size() ? nullptr : &contexts_[next_bitmap_].bitmap->edge();
  }
  // Adds the next piece of that bitmap, of about exports::kBitmapWordsPerTurnMax words at most. Returns the number of
  // words that were read. The caller is inside the gate.
  std::uint64_t read_bitmap();

  // The number of bytes that encode() writes, which requires at least one extent.
  std::size_t encoded_bytes() const;
  // Writes the complete reply, and returns its size.
  std::size_t encode(std::span<std::byte> out) const;

 private:
  struct Context {
    std::uint32_t id;
    const block::HeldBitmap* bitmap;  // null: the status comes from the node's extents
    BlockStatus status;
  };

  block::Range range_;
  block::Range rest_;
  std::vector<Context> contexts_;  // ids ascending, so that those of bitmaps come last
  std::size_t first_bitmap_ = 0;   // number of the contexts that are no bitmaps
  std::size_t next_bitmap_ = 0;    // first incomplete context; the number of contexts when all are complete
};

}  // namespace blockexport::nbd
