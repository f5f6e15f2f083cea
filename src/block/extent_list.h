// ExtentList: appends extents to the result of a query, and joins neighbours of one kind.
//
// Borrows the result for the time of one query. Thread: the caller's.
#pragma once

#include <algorithm>

#include "block/io.h"

namespace blockexport::block {

// Bytes that an image does not contain, behind the end of its backing node or without one. The end of a backing node
// counts as a decision of that node.
inline Extent unbacked(std::uint64_t length, bool has_backing) {
  return {.length = length, .data = false, .zero = true, .depth = has_backing ? 2u : 0u};
}

class ExtentList {
 public:
  // `extents` may have extents of an earlier query at its end.
  explicit ExtentList(Extents& extents) : extents_(extents), first_(extents.size()) {}

  bool is_full() const { return extents_.size() - first_ >= kExtentsPerCallMax; }

  // False: there was no room for an extent of another kind, and the list ends before it.
  bool add(const Extent& extent) {
    if (extents_.size() > first_) {
      Extent& last = extents_.back();
      if (last.data == extent.data && last.zero == extent.zero && last.depth == extent.depth) {
        last.length += extent.length;
        return true;
      }
    }
    if (is_full()) return false;
    extents_.push_back(extent);
    return true;
  }

  // Adds extents of the backing node, from its point of view, to those of this node: at most `length_max` bytes.
  // Returns the bytes that were added.
  std::uint64_t add_deeper(const Extents& below, std::uint64_t length_max) {
    std::uint64_t done = 0;
    for (Extent extent : below) {
      if (done == length_max) break;
      extent.length = std::min(extent.length, length_max - done);
      if (extent.depth != 0) extent.depth++;
      if (!add(extent)) break;
      done += extent.length;
    }
    return done;
  }

 private:
  Extents& extents_;
  std::size_t first_;
};

}  // namespace blockexport::block
