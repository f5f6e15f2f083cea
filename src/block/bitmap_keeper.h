// BitmapKeeper: storage that keeps dirty bitmaps when their node is closed: a bitmap store (block/node_store.h), or the
// node's own image (block/image_bitmaps.h). Steps of a change of the graph tell it of each change of such a bitmap.
//
// A bitmap knows its keeper (DirtyBitmap::keeper()), which outlives it. Thread: the control reactor, while the node is
// quiesced. Errors are for users.
#pragma once

#include <cstdint>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"

namespace blockexport::block {

class BitmapList;
class DirtyBitmap;

class BitmapKeeper {
 public:
  struct NewBitmap {
    std::string_view name = {};
    std::uint64_t size_bytes = 0;
    std::uint32_t granularity_bytes = 0;
  };

  BitmapKeeper() = default;
  BitmapKeeper(const BitmapKeeper&) = delete;
  BitmapKeeper& operator=(const BitmapKeeper&) = delete;

  // Fails if the keeper cannot take this bitmap beside those of `list` that it keeps already. Changes nothing.
  virtual Result<> check_addition(const BitmapList& list, const NewBitmap& bitmap) const = 0;
  // Keeps a bitmap of the node from now on, and becomes its keeper().
  virtual aio::Task<Result<>> add(DirtyBitmap& bitmap) = 0;
  virtual aio::Task<void> undo_add(DirtyBitmap& bitmap) = 0;
  virtual aio::Task<Result<>> set_enabled(DirtyBitmap& bitmap, bool is_enabled) = 0;
  virtual bool is_stored_enabled(const DirtyBitmap& bitmap) const = 0;
  // Forgets a bitmap, which is about to be destroyed, so that no crash brings it back. After an error it comes back as
  // an inconsistent one.
  virtual aio::Task<Result<>> remove(DirtyBitmap& bitmap) = 0;
  // The bits changed otherwise than by requests. Cannot fail: if the keeper cannot follow, it becomes inconsistent.
  virtual aio::Task<void> store_bits() = 0;

 protected:
  ~BitmapKeeper() = default;
};

}  // namespace blockexport::block
