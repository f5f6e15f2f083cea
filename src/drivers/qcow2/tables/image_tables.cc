#include "drivers/qcow2/tables/image_tables.h"

#include <algorithm>

#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {

ImageTables::ImageTables(const Geometry& geometry, std::span<const std::uint64_t> l1, CacheSizes sizes,
                         block::Edge& file)
    : geometry_(geometry), file_(file), cache_(geometry, sizes.slice_bytes, sizes.cache_bytes) {
  set_l1(l1);
}

void ImageTables::set_l1(std::span<const std::uint64_t> entries) {
  l1_ = std::make_unique<std::atomic<std::uint64_t>[]>(entries.size());
  l1_size_ = entries.size();
  for (std::size_t i = 0; i < entries.size(); ++i) l1_[i].store(entries[i], std::memory_order_relaxed);
}

void ImageTables::set_l1_entry(std::uint64_t index, std::uint64_t entry) {
  l1_[index].store(entry, std::memory_order_release);
  changed_l1_.push_back(index);
}

void ImageTables::begin_freezing() {
  frozen_.assign(l1_size_, Frozen::kNot);
}

bool ImageTables::freeze(std::uint64_t index) {
  const std::uint64_t entry = l1_entry(index);
  if ((entry & kEntryOffsetMask) == 0) return false;
  frozen_[index] = (entry & kEntryCopied) != 0 ? Frozen::kCopied : Frozen::kShared;
  l1_[index].store(entry & ~kEntryCopied, std::memory_order_release);
  return true;
}

void ImageTables::thaw(std::uint64_t index, std::uint64_t entry) {
  const bool has_changed = entry != l1_entry_for_image(index);
  frozen_[index] = Frozen::kNot;
  if (has_changed) {
    set_l1_entry(index, entry);
  } else {
    l1_[index].store(entry, std::memory_order_release);
  }
}

std::vector<std::uint64_t> ImageTables::begin_l1_write() {
  l1_in_writing_ = changed_l1_.size();
  std::vector<std::uint64_t> changed = changed_l1_;
  std::ranges::sort(changed);
  changed.erase(std::ranges::unique(changed).begin(), changed.end());
  return changed;
}

void ImageTables::end_l1_write() {
  changed_l1_.erase(changed_l1_.begin(), changed_l1_.begin() + static_cast<std::ptrdiff_t>(l1_in_writing_));
  l1_in_writing_ = 0;
}

std::expected<L2Entry, Errno> ImageTables::try_entry(std::uint64_t guest_cluster) const {
  if ((l1_entry(geometry_.l1_index(guest_cluster)) & kEntryOffsetMask) == 0) return L2Entry{};
  const std::optional<L2Entry> found = cache_.find(guest_cluster);
  if (!found) return fail(EAGAIN);
  return *found;
}

aio::Task<std::expected<L2Entry, Errno>> ImageTables::entry(std::uint64_t guest_cluster) {
  while (true) {
    const std::expected<L2Entry, Errno> found = try_entry(guest_cluster);
    if (found || found.error() != Errno(EAGAIN)) co_return found;
    CO_TRY(co_await load(guest_cluster));
  }
}

aio::Task<IoResult> ImageTables::load(std::uint64_t guest_cluster) {
  const std::uint64_t slice = cache_.slice_of(guest_cluster);
  std::shared_ptr<Load> load;
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    if (cache_.holds(slice)) co_return IoResult();
    const auto found = std::ranges::find(loads_, slice, [](const auto& other) { return other->slice; });
    is_first = found == loads_.end();
    load = is_first ? loads_.emplace_back(std::make_shared<Load>(slice)) : *found;
  }
  if (!is_first) {
    (void)co_await load->ended.wait();
    co_return load->result;
  }
  const std::uint64_t table = l1_entry(geometry_.l1_index(guest_cluster)) & kEntryOffsetMask;
  load->result = co_await read_slice(table, *load);
  {
    const std::lock_guard lock(mutex_);
    std::erase(loads_, load);
  }
  load->ended.set();
  co_return load->result;
}

bool ImageTables::drop_unused_slices(std::size_t first, std::size_t count) {
  if (first >= cache_.set_count()) return false;
  const std::lock_guard lock(mutex_);
  cache_.drop_unused(first, count);
  return true;
}

aio::Task<IoResult> ImageTables::read_slice(std::uint64_t table_offset, Load& load) {
  if (table_offset == 0 || geometry_.offset_in_cluster(table_offset) != 0) co_return fail(EIO);
  const block::AlignedMemory memory(cache_.slice_bytes(), 4096);
  if (!memory) co_return fail(ENOMEM);
  const iovec vector{memory.bytes().data(), memory.bytes().size()};
  const block::Range range{table_offset + cache_.offset_in_table(load.slice), cache_.slice_bytes()};
  block::debug_event(file_, block::DebugEvent::kL2Load);
  CO_TRY(co_await read_zero_padded(file_.node(), range, {&vector, 1}));
  const std::lock_guard lock(mutex_);
  // The table has moved meanwhile: the caller looks again.
  const std::uint64_t now = l1_entry(load.slice / cache_.slices_per_table()) & kEntryOffsetMask;
  if (now != table_offset) co_return IoResult();
  co_return cache_.insert(load.slice, memory.bytes());
}

}  // namespace blockexport::drivers::qcow2
