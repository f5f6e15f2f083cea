#include "block/node_bitmaps.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "block/node_store.h"

namespace blockexport::block {

NodeBitmaps::NodeBitmaps(ChangeListeners& listeners) : listeners_(listeners) {}

NodeBitmaps::~NodeBitmaps() = default;

void NodeBitmaps::set_store(std::unique_ptr<NodeStore> store) {
  store_ = std::move(store);
}

std::unique_ptr<NodeStore> NodeBitmaps::take_store() {
  return std::move(store_);
}

Result<DirtyBitmap*> NodeBitmaps::add(std::string name, std::uint64_t size_bytes, std::uint64_t granularity_bytes) {
  const bool was_empty = list_.all().empty();
  TRY_ASSIGN(DirtyBitmap * added, list_.add(std::move(name), size_bytes, granularity_bytes));
  if (was_empty) listeners_.add(*this);
  return added;
}

std::unique_ptr<DirtyBitmap> NodeBitmaps::take(const DirtyBitmap& bitmap) {
  std::unique_ptr<DirtyBitmap> taken = list_.take(bitmap);
  if (list_.all().empty()) listeners_.remove(*this);
  return taken;
}

void NodeBitmaps::drop_kept_by(const BitmapKeeper& keeper) {
  std::vector<const DirtyBitmap*> kept;
  for (const auto& bitmap : list_.all()) {
    if (bitmap->keeper() == &keeper) kept.push_back(bitmap.get());
  }
  for (const DirtyBitmap* bitmap : kept) take(*bitmap);
}

bool NodeBitmaps::is_behind(std::uint64_t size_bytes) const {
  return std::ranges::any_of(list_.all(), [=](const auto& bitmap) {
    return !bitmap->is_inconsistent() && bitmap->bits().size_bytes() != size_bytes;
  });
}

IoResult NodeBitmaps::try_before_change(aio::Reactor&, const Change& change) {
  if (store_ == nullptr) return {};
  return store_->try_before_change(change);
}

aio::Task<IoResult> NodeBitmaps::before_change(Change change) {
  if (store_ == nullptr) co_return IoResult();
  co_return co_await store_->before_change(change);
}

void NodeBitmaps::changed(const Change& change) {
  if (change.kind != ChangeKind::kResize) {
    for (const auto& bitmap : list_.all()) bitmap->mark(change.range);
  }
  if (store_ != nullptr) store_->after_change(change);
}

void NodeBitmaps::cancelled(const Change& change) {
  if (store_ != nullptr) store_->after_change(change);
}

void NodeBitmaps::resized(std::uint64_t before_bytes, std::uint64_t after_bytes) {
  resize_all(before_bytes, NewBytes::kWritten);
  resize_all(after_bytes, NewBytes::kClean);
}

void NodeBitmaps::resize_all(std::uint64_t size_bytes, NewBytes new_bytes) {
  for (const auto& bitmap : list_.all()) {
    const std::uint64_t before_bytes = bitmap->bits().size_bytes();
    if (size_bytes == before_bytes) continue;
    // A failure is a state of the bitmap, which queries list and every later use is refused with.
    if (!bitmap->resize(size_bytes)) continue;
    if (new_bytes == NewBytes::kWritten && size_bytes > before_bytes) {
      bitmap->mark({before_bytes, size_bytes - before_bytes});
    }
  }
}

}  // namespace blockexport::block
