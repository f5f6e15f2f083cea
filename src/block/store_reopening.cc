#include "block/store_reopening.h"

#include "block/attached_store.h"
#include "block/image_bitmaps.h"

namespace blockexport::block {

aio::Task<Result<>> StoreReopening::prepare(NodeStore::Environment environment,
                                            const std::optional<schema::BlockdevBitmapStore>& before,
                                            const std::optional<schema::BlockdevBitmapStore>& after,
                                            bool is_read_only) {
  is_read_only_ = is_read_only;
  if (before && after) co_return co_await keep(*before, *after);
  if (before) co_return co_await drop();
  if (after) co_return co_await add(environment, *after, is_read_only);
  co_return Result<>();
}

aio::Task<Result<>> StoreReopening::add(NodeStore::Environment environment, const schema::BlockdevBitmapStore& options,
                                        bool is_read_only) {
  CO_TRY(co_await attach_store(environment, options, node_, is_read_only, AttachTo::kOldNode));
  action_ = Action::kAdd;
  co_return Result<>();
}

aio::Task<Result<>> StoreReopening::keep(schema::BlockdevBitmapStore before, schema::BlockdevBitmapStore after) {
  if (before.filename != after.filename) {
    co_return fail(Error("Cannot change the option 'bitmap-store.filename'")
                       .with_hint("Reopen the node without bitmap-store first, and then with the other file."));
  }
  CO_TRY_ASSIGN(interval_ns_, NodeStore::checkpoint_interval_ns(after));
  // It may have been read-only until now. The image does not name the session before the commit.
  if (!is_read_only_) CO_TRY(co_await store()->begin_session(node_.bitmaps().list()));
  action_ = Action::kKeep;
  co_return Result<>();
}

aio::Task<Result<>> StoreReopening::drop() {
  for (const auto& bitmap : node_.bitmaps().list().all()) {
    if (bitmap->keeper() != node_.bitmaps().store()) continue;
    CO_TRY(bitmap->check_free());
    dropped_.push_back(bitmap.get());
  }
  if (ImageBitmaps* image = store()->beside(); image != nullptr && !node_.read_only()) {
    // Before the store stops to record changes.
    Result<> left = co_await image->leave_session();
    if (!left) co_await name_session();
    CO_TRY(std::move(left));
  }
  for (DirtyBitmap* bitmap : dropped_) bitmap->set_busy(true);
  node_.bitmaps().store()->set_leaving(true);
  action_ = Action::kDrop;
  co_return Result<>();
}

// The store goes on.
aio::Task<void> StoreReopening::name_session() {
  ImageBitmaps* const image = store()->beside();
  if (image == nullptr) co_return;
  image->set_session(store()->session());
  // After an error the image names the session before its next change.
  if (!node_.read_only()) (void)co_await image->begin_use();
}

aio::Task<Result<>> StoreReopening::confirm() {
  if (action_ != Action::kAdd) co_return Result<>();
  co_return co_await confirm_store(node_, is_read_only_);
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

aio::Task<void> StoreReopening::abort() {
  if (action_ == Action::kAdd) detach_store(node_);
  if (action_ == Action::kDrop) {
    for (DirtyBitmap* bitmap : dropped_) bitmap->set_busy(false);
    store()->set_leaving(false);
    co_await name_session();
  }
}

}  // namespace blockexport::block
