// ExtentList: appends extents to the result of a query, and joins neighbours of one kind.
//
// Borrows the result for the time of one query. Thread: the caller's.
#pragma once

#include "block/io.h"

namespace blockexport::drivers::qcow2 {

class ExtentList {
 public:
  // `extents` may have extents of an earlier query at its end.
  explicit ExtentList(block::Extents& extents) : extents_(extents), first_(extents.size()) {}

  bool is_full() const { return extents_.size() - first_ >= block::kExtentsPerCallMax; }

  // False: there was no room for an extent of another kind, and the list ends before it.
  bool add(const block::Extent& extent) {
    if (extents_.size() > first_) {
      block::Extent& last = extents_.back();
      if (last.data == extent.data && last.zero == extent.zero && last.depth == extent.depth) {
        last.length += extent.length;
        return true;
      }
    }
    if (is_full()) return false;
    extents_.push_back(extent);
    return true;
  }

 private:
  block::Extents& extents_;
  std::size_t first_;
};

}  // namespace blockexport::drivers::qcow2
