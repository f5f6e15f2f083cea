#include "block/attached_store.h"

#include <utility>
#include <vector>

namespace blockexport::block {
namespace {

aio::Task<Result<>> load_all(NodeStore& store, Node& node, bool is_read_only) {
  NodeBitmaps& bitmaps = node.bitmaps();
  const std::vector<StoredBitmap> stored = store.stored_bitmaps();
  for (const StoredBitmap& one : stored) {
    CO_TRY_ASSIGN(DirtyBitmap * bitmap, bitmaps.add(one.name, store.stored_bytes(), one.granularity_bytes));
    bitmap->set_read_only(is_read_only);
    CO_TRY(co_await store.load(one, *bitmap));
  }
  // After a crash in a change of the size. The new bytes count as changed.
  bitmaps.catch_up(node.size_bytes());
  co_return co_await store.finish_loading();
}

}  // namespace

aio::Task<Result<>> attach_store(NodeStore::Environment environment, schema::BlockdevBitmapStore options, Node& node,
                                 bool is_read_only) {
  CO_TRY_ASSIGN(std::unique_ptr<NodeStore> store,
                co_await NodeStore::open(environment, std::move(options), node.driver()));
  node.bitmaps().set_store(std::move(store));
  Result<> loaded = co_await load_all(*node.bitmaps().store(), node, is_read_only);
  if (!loaded) detach_store(node);
  co_return loaded;
}

void detach_store(Node& node) {
  node.bitmaps().drop_kept_by(*node.bitmaps().store());
  node.bitmaps().take_store().reset();
}

aio::Task<void> close_store(Node& node) {
  node.bitmaps().catch_up(node.size_bytes());
  co_await node.bitmaps().store()->close();
}

}  // namespace blockexport::block
