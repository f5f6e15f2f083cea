#include "block/store_reopening.h"

#include "block/attached_store.h"

namespace blockexport::block {

aio::Task<Result<>> StoreReopening::prepare(NodeStore::Environment environment,
                                            const std::optional<schema::BlockdevBitmapStore>& before,
                                            const std::optional<schema::BlockdevBitmapStore>& after,
                                            bool is_read_only) {
  if (before && after) co_return keep(*before, *after);
  if (before) co_return drop();
  if (after) co_return co_await add(environment, *after, is_read_only);
  co_return Result<>();
}

aio::Task<Result<>> StoreReopening::add(NodeStore::Environment environment, const schema::BlockdevBitmapStore& options,
                                        bool is_read_only) {
  CO_TRY(co_await attach_store(environment, options, node_, is_read_only));
  action_ = Action::kAdd;
  co_return Result<>();
}

Result<> StoreReopening::keep(const schema::BlockdevBitmapStore& before, const schema::BlockdevBitmapStore& after) {
  if (before.filename != after.filename) {
    return fail(Error("Cannot change the option 'bitmap-store.filename'")
                    .with_hint("Reopen the node without bitmap-store first, and then with the other file."));
  }
  TRY_ASSIGN(interval_ns_, NodeStore::checkpoint_interval_ns(after));
  action_ = Action::kKeep;
  return {};
}

Result<> StoreReopening::drop() {
  for (const auto& bitmap : node_.bitmaps().list().all()) {
    if (bitmap->keeper() != node_.bitmaps().store()) continue;
    TRY(bitmap->check_free());
    dropped_.push_back(bitmap.get());
  }
  for (DirtyBitmap* bitmap : dropped_) bitmap->set_busy(true);
  node_.bitmaps().store()->set_leaving(true);
  action_ = Action::kDrop;
  return {};
}

aio::Task<Result<>> StoreReopening::confirm() {
  if (action_ != Action::kAdd) co_return Result<>();
  co_return co_await node_.bitmaps().store()->confirm();
}

aio::Task<void> StoreReopening::commit() {
  NodeBitmaps& bitmaps = node_.bitmaps();
  if (action_ == Action::kDrop) {
    co_await close_store(node_);
    detach_store(node_);
  }
  if (action_ == Action::kAdd) bitmaps.store()->start();
  if (action_ == Action::kKeep) {
    co_await bitmaps.store()->stop();
    bitmaps.store()->set_checkpoint_interval_ns(interval_ns_);
    bitmaps.store()->start();
    for (const auto& bitmap : bitmaps.list().all()) {
      if (bitmap->keeper() == bitmaps.store()) bitmap->set_read_only(node_.read_only());
    }
  }
}

void StoreReopening::abort() {
  if (action_ == Action::kAdd) detach_store(node_);
  if (action_ == Action::kDrop) {
    for (DirtyBitmap* bitmap : dropped_) bitmap->set_busy(false);
    node_.bitmaps().store()->set_leaving(false);
  }
}

}  // namespace blockexport::block
