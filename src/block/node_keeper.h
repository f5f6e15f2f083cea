// NodeKeeper: keeps a persistent bitmap of a node for the steps of a change: by the bitmap's keeper, and in the store
// beside the image if there is one, in the right order.
//
// A bitmap that survives a crash records the changes since a moment, so the bytes of this moment become durable first:
// a power cut must not undo a write of before it, which the bitmap does not show. A plain value, which refers to node
// and keeper. Thread: the control reactor, while the node is quiesced. Errors are for users.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/bitmap/dirty_bitmap.h"
#include "block/bitmap_keeper.h"
#include "block/node.h"

namespace blockexport::block {

class NodeKeeper {
 public:
  // Keeps nothing.
  NodeKeeper() = default;
  // `keeper`: of bitmaps of the node; null: they are not persistent.
  NodeKeeper(Node& node, BitmapKeeper* keeper) : node_(&node), keeper_(keeper) {}

  bool keeps() const { return keeper_ != nullptr; }
  // As in BitmapKeeper. keeps() is true, unless a function says otherwise.
  Result<> check_addition(const BitmapKeeper::NewBitmap& bitmap) const;
  aio::Task<Result<>> add(DirtyBitmap& bitmap);
  aio::Task<void> undo_add(DirtyBitmap& bitmap);
  aio::Task<Result<>> set_enabled(DirtyBitmap& bitmap, bool is_enabled);
  bool is_stored_enabled(const DirtyBitmap& bitmap) const;
  // From the image first: a crash in between brings the bitmap back with all of its changes.
  aio::Task<Result<>> remove(DirtyBitmap& bitmap);
  // Does nothing if it keeps nothing.
  aio::Task<void> store_bits();

 private:
  // The keeper, or the store beside it, which a crash leaves as it is.
  BitmapKeeper& lasting() const;
  NodeStore* store_beside() const;
  aio::Task<IoResult> flush();
  aio::Task<Result<>> check_flush();

  Node* node_ = nullptr;
  BitmapKeeper* keeper_ = nullptr;
};

}  // namespace blockexport::block
