// BitmapList: the dirty bitmaps of one node, each under its own name.
//
// Owned by the node, and it owns the bitmaps. Thread: the control reactor. Marks do not go through the list: its user
// registers each bitmap that it adds with the change listeners of the node, and unregisters it before take(). A pointer
// to a bitmap is valid until take() and the end of the returned owner.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "block/bitmap/dirty_bitmap.h"

namespace blockexport::block {

class BitmapList {
 public:
  // Adds an enabled bitmap, and returns it. Refuses, in this order: an empty name, an invalid granularity, a name in
  // use, a name that is too long; fails when there is no memory.
  Result<DirtyBitmap*> add(std::string name, std::uint64_t size_bytes, std::uint64_t granularity_bytes);

  // Null when there is no bitmap of that name.
  DirtyBitmap* find(std::string_view name) const;
  // The same, with an error for the user.
  Result<DirtyBitmap*> require(std::string_view name) const;

  // Removes a bitmap from this list. The caller has checked that it may be removed.
  std::unique_ptr<DirtyBitmap> take(const DirtyBitmap& bitmap);

  // In the order of creation.
  const std::vector<std::unique_ptr<DirtyBitmap>>& all() const { return bitmaps_; }

 private:
  std::vector<std::unique_ptr<DirtyBitmap>> bitmaps_;
};

}  // namespace blockexport::block
