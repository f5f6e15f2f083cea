#include "export/nbd/transmission/read_plan.h"

#include <algorithm>
#include <cstdint>

namespace blockexport::nbd {
namespace {

struct Ends {
  std::uint64_t leading = 0;   // zeros at the start of the range
  std::uint64_t trailing = 0;  // zeros at the end of the range
};

Ends zeros_at_ends(std::uint64_t length, std::span<const block::Extent> extents) {
  Ends ends;
  std::uint64_t covered = 0;
  for (const block::Extent& extent : extents) {
    const std::uint64_t taken = std::min(extent.length, length - covered);
    if (extent.zero && ends.leading == covered) ends.leading += taken;
    ends.trailing = extent.zero ? ends.trailing + taken : 0;
    covered += taken;
  }
  // Unknown bytes count as data.
  if (covered < length || ends.leading == length) ends.trailing = 0;
  return ends;
}

}  // namespace

ReadPlan plan_read(HeaderMode mode, const Request& request, std::span<const block::Extent> extents) {
  ReadPlan plan;
  plan.data = {.offset = request.offset, .length = request.length};
  Ends zeros;
  if (mode != HeaderMode::kSimple) zeros = zeros_at_ends(request.length, extents);
  const bool all_zero = zeros.leading == request.length;
  if ((request.flags & command_flag::kDontFragment) != 0 && !all_zero) zeros = {};

  auto space = [&plan] { return std::span(plan.head_buffer).subspan(plan.head_bytes); };
  auto hole = [&](std::uint64_t offset, std::uint64_t length) {
    if (length == 0) return;
    plan.head_bytes += encode_hole(space(), mode, request, offset, static_cast<std::uint32_t>(length), all_zero);
  };
  hole(request.offset, zeros.leading);
  hole(request.offset + request.length - zeros.trailing, zeros.trailing);
  plan.data.offset += zeros.leading;
  plan.data.length -= zeros.leading + zeros.trailing;
  if (!plan.data.empty()) {
    plan.head_bytes +=
        encode_data_head(space(), mode, request, plan.data.offset, static_cast<std::uint32_t>(plan.data.length), true);
  }
  return plan;
}

}  // namespace blockexport::nbd
