// StoreReopening: a reopen of a node that adds, keeps or drops its bitmap store.
//
// Part of the step of a change that reopens nodes: prepare() may fail and is then undone by itself; afterwards either
// commit() or abort(). Thread: the control reactor. The node is quiesced, and outlives the object.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "block/node_store.h"
#include "schema/block_core.h"

namespace blockexport::block {

class StoreReopening {
 public:
  explicit StoreReopening(Node& node) : node_(node) {}

  // `is_read_only`: whether the node will be. The driver has prepared its own reopen.
  aio::Task<Result<>> prepare(NodeStore::Environment environment,
                              const std::optional<schema::BlockdevBitmapStore>& before,
                              const std::optional<schema::BlockdevBitmapStore>& after, bool is_read_only);
  // Fails if the image is not the one that a new store was opened for. The permissions are in effect.
  aio::Task<Result<>> confirm();
  // The driver shows its new image.
  aio::Task<void> commit();
  aio::Task<void> abort();
  NodeStore* store() const { return node_.bitmaps().store(); }
  // True if abort() destroys the store.
  bool is_adding() const { return action_ == Action::kAdd; }
  // True if commit() destroys the store.
  bool is_dropping() const { return action_ == Action::kDrop; }

 private:
  enum class Action : std::uint8_t { kNone, kAdd, kKeep, kDrop };

  aio::Task<Result<>> add(NodeStore::Environment environment, const schema::BlockdevBitmapStore& options,
                          bool is_read_only);
  aio::Task<Result<>> keep(schema::BlockdevBitmapStore before, schema::BlockdevBitmapStore after);
  aio::Task<Result<>> drop();
  aio::Task<void> name_session();

  Node& node_;
  Action action_ = Action::kNone;
  bool is_read_only_ = false;
  std::uint64_t interval_ns_ = 0;
  std::vector<DirtyBitmap*> dropped_;
};

}  // namespace blockexport::block
