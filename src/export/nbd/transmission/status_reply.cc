#include "export/nbd/transmission/status_reply.h"

#include <algorithm>
#include <cassert>

#include "export/engine/request_engine.h"
#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kBitsPerWord = 64;

std::uint32_t status_flags(std::uint32_t context_id, const block::Extent& extent) {
  if (context_id == kAllocationDepthContextId) return extent.depth;
  return (extent.data ? 0 : allocation_flag::kHole) | (extent.zero ? allocation_flag::kZero : 0);
}

}  // namespace

StatusReply::StatusReply(const Request& request, block::Range range, std::span<const std::uint32_t> context_ids,
                         std::size_t extents_max, std::span<const block::HeldBitmap> bitmaps)
    : range_(range) {
  contexts_.reserve(context_ids.size());
  for (std::uint32_t id : context_ids) {
    const bool is_bitmap = id >= kFirstBitmapContextId;
    assert(!is_bitmap || id - kFirstBitmapContextId < bitmaps.size());
    contexts_.push_back({.id = id,
                         .bitmap = is_bitmap ? &bitmaps[id - kFirstBitmapContextId] : nullptr,
                         .status = BlockStatus(request, range.length, extents_max)});
    if (!is_bitmap) first_bitmap_ = contexts_.size();
  }
  next_bitmap_ = first_bitmap_;
  if (first_bitmap_ > 0) rest_ = range;
}

void StatusReply::add(const block::Extents& extents) {
  bool all_full = true;
  for (Context& context : std::span(contexts_).first(first_bitmap_)) {
    for (const block::Extent& extent : extents) {
      if (!context.status.add(extent.length, status_flags(context.id, extent))) break;
    }
    all_full = all_full && context.status.is_full();
  }
  std::uint64_t told = 0;
  for (const block::Extent& extent : extents) told += extent.length;
  if (all_full) told = rest_.length;
  rest_ = {rest_.offset + told, rest_.length - told};
}

std::uint64_t StatusReply::read_bitmap() {
  const block::DirtyBits& bits = contexts_[next_bitmap_].bitmap->bits();
  BlockStatus& status = contexts_[next_bitmap_].status;
  // A clean run is found by a few words, however long it is; a dirty one is read as a whole, so in parts.
  const std::uint64_t dirty_bytes_max = exports::kBitmapWordsPerTurnMax * kBitsPerWord * bits.granularity_bytes();
  std::uint64_t words_read = 0;
  while (words_read < exports::kBitmapWordsPerTurnMax && !status.is_full()) {
    const block::Range rest = {range_.offset + status.covered_bytes(), range_.length - status.covered_bytes()};
    const std::uint64_t dirty = bits.find_dirty(rest, &words_read);
    if (!status.add(dirty - rest.offset, 0)) break;
    // Past the bits everything is dirty, and no word is read.
    std::uint64_t length = rest.end() - dirty;
    if (dirty < bits.size_bytes()) length = std::min(length, dirty_bytes_max);
    const block::DirtyBits::Run run = bits.run_at({dirty, length}, &words_read);
    status.add(run.length, run.is_dirty ? dirty_flag::kDirty : 0);
  }
  if (status.is_full()) ++next_bitmap_;
  return words_read;
}

std::size_t StatusReply::encoded_bytes() const {
  std::size_t bytes = 0;
  for (const Context& context : contexts_) bytes += context.status.encoded_bytes();
  return bytes;
}

std::size_t StatusReply::encode(std::span<std::byte> out) const {
  std::size_t written = 0;
  for (const Context& context : contexts_) {
    written += context.status.encode(out.subspan(written), context.id, &context == &contexts_.back());
  }
  return written;
}

}  // namespace blockexport::nbd
