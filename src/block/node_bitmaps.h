// NodeBitmaps: the dirty bitmaps of one node, and the listener that marks the changes of the node in them. It also
// tells the store of the persistent ones: each change is in the bits before the store learns of its end.
//
// Owned by the Node. It listens only while there is a bitmap, so that a node without any pays nothing. Marks come from
// any reactor, without locks; all else is for the control reactor, and what says so only while the node is quiesced.
// Bits are never moved under a reader: when requests make the node larger, its bitmaps keep their size until the next
// quiet moment (catch_up). Until then a reader finds the bytes past their end dirty, as DirtyBits promises.
#pragma once

#include <memory>
#include <string>

#include "block/bitmap/bitmap_list.h"
#include "block/change_listener.h"

namespace blockexport::block {

class NodeStore;

class NodeBitmaps final : public ChangeListener {
 public:
  // The listeners of the node outlive it.
  explicit NodeBitmaps(ChangeListeners& listeners);
  ~NodeBitmaps();
  NodeBitmaps(const NodeBitmaps&) = delete;
  NodeBitmaps& operator=(const NodeBitmaps&) = delete;

  // Whoever keeps a bitmap busy holds an edge to the node, so that the bitmap stays.
  const BitmapList& list() const { return list_; }

  // As in BitmapList. While the node is quiesced.
  Result<DirtyBitmap*> add(std::string name, std::uint64_t size_bytes, std::uint64_t granularity_bytes);
  std::unique_ptr<DirtyBitmap> take(const DirtyBitmap& bitmap);

  // The store that keeps the persistent bitmaps; null: there is none. Set and taken away while the node is quiesced.
  NodeStore* store() const { return store_.get(); }
  void set_store(std::unique_ptr<NodeStore> store);
  std::unique_ptr<NodeStore> take_store();
  // Removes the bitmaps of that keeper. While the node is quiesced.
  void drop_kept_by(const BitmapKeeper& keeper);

  // True if a bitmap has another size than the node, which has `size_bytes`. An inconsistent one may have any.
  bool is_behind(std::uint64_t size_bytes) const;
  // Gives the bitmaps the node's size. What the node has grown by counts as written, for requests have made it larger.
  // A bitmap without memory for that becomes inconsistent. While the node is quiesced.
  void catch_up(std::uint64_t size_bytes) { resize_all(size_bytes, NewBytes::kWritten); }

  IoResult try_before_change(aio::Reactor& reactor, const Change& change) override;
  aio::Task<IoResult> before_change(Change change) override;
  void changed(const Change& change) override;
  void cancelled(const Change& change) override;
  void resized(std::uint64_t before_bytes, std::uint64_t after_bytes) override;
  void grown(std::uint64_t, std::uint64_t) override {}

 private:
  enum class NewBytes : bool { kClean, kWritten };
  void resize_all(std::uint64_t size_bytes, NewBytes new_bytes);

  ChangeListeners& listeners_;
  BitmapList list_;
  std::unique_ptr<NodeStore> store_;
};

}  // namespace blockexport::block
