#include "export/nbd/transmission/status_reply.h"

#include <algorithm>

#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

std::uint32_t status_flags(std::uint32_t context_id, const block::Extent& extent) {
  if (context_id == kAllocationDepthContextId) return extent.depth;
  return (extent.data ? 0 : allocation_flag::kHole) | (extent.zero ? allocation_flag::kZero : 0);
}

}  // namespace

StatusReply::StatusReply(const Request& request, block::Range range, std::span<const std::uint32_t> context_ids,
                         std::size_t extents_max)
    : rest_(range) {
  contexts_.reserve(context_ids.size());
  for (std::uint32_t id : context_ids) {
    contexts_.push_back({.id = id, .status = BlockStatus(request, range.length, extents_max)});
  }
}

void StatusReply::add(const block::Extents& extents) {
  bool all_full = true;
  for (Context& context : contexts_) {
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
