// HeldBitmap: a dirty bitmap that an operation, such as an export, reads, with the root edge that keeps its node.
//
// The bitmap is busy meanwhile, so that no command changes it; requests go on marking it while it is enabled. Owned by
// the operation, which gets it by the step HoldBitmaps and gives it back by end(). Thread: the control reactor. Other
// threads read bits() inside the gate of edge(), because a change of the node's size moves them.
#pragma once

#include <cassert>
#include <memory>
#include <utility>

#include "block/bitmap/dirty_bitmap.h"
#include "block/edge.h"

namespace blockexport::block {

class HeldBitmap {
 public:
  // `bitmap`: one of the node of `edge`, which no other operation uses.
  HeldBitmap(std::unique_ptr<Edge> edge, DirtyBitmap& bitmap) : edge_(std::move(edge)), bitmap_(&bitmap) {
    bitmap_->set_busy(true);
  }
  HeldBitmap(HeldBitmap&&) = default;
  HeldBitmap& operator=(HeldBitmap&&) = default;
  // After end().
  ~HeldBitmap() { assert(edge_ == nullptr); }

  const std::string& name() const { return bitmap_->name(); }
  Edge& edge() const { return *edge_; }
  const DirtyBits& bits() const { return std::as_const(*bitmap_).bits(); }

  // Commands may change the bitmap from now on. The caller gives the edge back to the graph (Graph::detach).
  std::unique_ptr<Edge> end() {
    bitmap_->set_busy(false);
    return std::move(edge_);
  }

 private:
  std::unique_ptr<Edge> edge_;
  DirtyBitmap* bitmap_;
};

}  // namespace blockexport::block
