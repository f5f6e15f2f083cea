#include "block/node_keeper.h"

#include <fmt/format.h>

#include "block/image_bitmaps.h"
#include "block/node_store.h"

namespace blockexport::block {

NodeStore* NodeKeeper::store_beside() const {
  NodeStore* const store = node_->bitmaps().store();
  return store != nullptr && store != keeper_ && store->is_active() ? store : nullptr;
}

BitmapKeeper& NodeKeeper::lasting() const {
  if (NodeStore* store = store_beside()) return *store;
  return *keeper_;
}

aio::Task<IoResult> NodeKeeper::flush() {
  const NodeStore* const store = node_->bitmaps().store();
  if (store == nullptr || !store->survives_crash()) co_return IoResult();
  co_return co_await node_->flush();
}

Result<> NodeKeeper::check_addition(const BitmapKeeper::NewBitmap& bitmap) const {
  return keeper_->check_addition(node_->bitmaps().list(), bitmap);
}

aio::Task<Result<>> NodeKeeper::check_flush() {
  const IoResult flushed = co_await flush();
  if (flushed) co_return Result<>();
  co_return fail(Error::system(fmt::format("Error flushing node '{}'", node_->name()), flushed.error()));
}

aio::Task<Result<>> NodeKeeper::add(DirtyBitmap& bitmap) {
  CO_TRY(co_await check_flush());
  CO_TRY(co_await keeper_->add(bitmap));
  NodeStore* const store = store_beside();
  if (store == nullptr) co_return Result<>();
  Result<> added = co_await store->add(bitmap);
  if (!added) co_await keeper_->undo_add(bitmap);
  co_return added;
}

aio::Task<void> NodeKeeper::undo_add(DirtyBitmap& bitmap) {
  if (NodeStore* store = store_beside()) co_await store->undo_add(bitmap);
  co_await keeper_->undo_add(bitmap);
}

aio::Task<Result<>> NodeKeeper::set_enabled(DirtyBitmap& bitmap, bool is_enabled) {
  if (is_enabled) CO_TRY(co_await check_flush());
  if (NodeStore* store = store_beside()) CO_TRY(co_await store->set_enabled(bitmap, is_enabled));
  co_return co_await keeper_->set_enabled(bitmap, is_enabled);
}

bool NodeKeeper::is_stored_enabled(const DirtyBitmap& bitmap) const {
  return lasting().is_stored_enabled(bitmap);
}

aio::Task<Result<>> NodeKeeper::remove(DirtyBitmap& bitmap) {
  CO_TRY(co_await keeper_->remove(bitmap));
  NodeStore* const store = store_beside();
  // A bitmap that was inconsistent already is in the image alone.
  if (store == nullptr || !store->has(bitmap)) co_return Result<>();
  co_return co_await store->remove(bitmap);
}

aio::Task<void> NodeKeeper::store_bits() {
  if (keeper_ == nullptr) co_return;
  const IoResult flushed = co_await flush();
  if (!flushed) co_await node_->bitmaps().store()->lose(flushed.error());
  co_await lasting().store_bits();
}

}  // namespace blockexport::block
