#include "block/attached_store.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "block/image_bitmaps.h"

namespace blockexport::block {
namespace {

// In the node the bitmaps of the image may be loaded already, as inconsistent ones.
Result<> check_is_new(const NodeStore& store, AttachTo attach_to) {
  if (attach_to == AttachTo::kNewNode || store.beside() == nullptr || !store.is_active()) return {};
  return fail(Error(fmt::format("Bitmap store '{}' has the bitmaps of an image that was not closed", store.path()))
                  .with_hint("Remove the node, and add it again with the option bitmap-store."));
}

aio::Task<Result<>> load_all(NodeStore& store, Node& node, bool is_read_only) {
  if (!store.is_active()) co_return Result<>();
  NodeBitmaps& bitmaps = node.bitmaps();
  ImageBitmaps* const beside = store.beside();
  const std::vector<StoredBitmap> stored = store.stored_bitmaps();
  for (const StoredBitmap& one : stored) {
    if (beside != nullptr) {
      CO_TRY(beside->check_addition(
          bitmaps.list(),
          {.name = one.name, .size_bytes = store.stored_bytes(), .granularity_bytes = one.granularity_bytes}));
    }
    CO_TRY_ASSIGN(DirtyBitmap * bitmap, bitmaps.add(one.name, store.stored_bytes(), one.granularity_bytes));
    bitmap->set_read_only(is_read_only);
    if (beside != nullptr) bitmap->set_keeper(beside);
    CO_TRY(co_await store.load(one, *bitmap));
  }
  // After a crash in a change of the size. The new bytes count as changed.
  bitmaps.catch_up(node.size_bytes());
  co_return co_await store.finish_loading();
}

}  // namespace

aio::Task<Result<>> attach_store(NodeStore::Environment environment, schema::BlockdevBitmapStore options, Node& node,
                                 bool is_read_only, AttachTo attach_to) {
  CO_TRY_ASSIGN(std::unique_ptr<NodeStore> store,
                co_await NodeStore::open(environment, std::move(options), node.driver()));
  CO_TRY(check_is_new(*store, attach_to));
  node.bitmaps().set_store(std::move(store));
  Result<> loaded = co_await load_all(*node.bitmaps().store(), node, is_read_only);
  if (!loaded) detach_store(node);
  co_return loaded;
}

aio::Task<Result<>> confirm_store(Node& node, bool is_read_only) {
  NodeStore* const store = node.bitmaps().store();
  if (store == nullptr) co_return Result<>();
  CO_TRY(co_await store->confirm());
  if (is_read_only) co_return Result<>();
  co_return co_await store->begin_session(node.bitmaps().list());
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
