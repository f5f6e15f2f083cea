#include "drivers/quorum/common_extents.h"

#include <algorithm>

namespace blockexport::drivers {
namespace {

void append(block::Extents& list, std::uint64_t length, bool is_zero) {
  if (!list.empty() && list.back().zero == is_zero) {
    list.back().length += length;
    return;
  }
  list.push_back({.length = length, .data = !is_zero, .zero = is_zero});
}

}  // namespace

void CommonExtents::add(const block::Extents& child) {
  block::Extents merged;
  if (!has_child_) {
    for (const block::Extent& extent : child) append(merged, extent.length, extent.zero);
  } else {
    auto a = common_.begin();
    auto b = child.begin();
    std::uint64_t done_a = 0;
    std::uint64_t done_b = 0;
    while (a != common_.end() && b != child.end()) {
      const std::uint64_t length = std::min(a->length - done_a, b->length - done_b);
      append(merged, length, a->zero && b->zero);
      done_a += length;
      done_b += length;
      if (done_a == a->length) {
        ++a;
        done_a = 0;
      }
      if (done_b == b->length) {
        ++b;
        done_b = 0;
      }
    }
  }
  if (merged.size() > block::kExtentsPerCallMax) merged.resize(block::kExtentsPerCallMax);
  common_ = std::move(merged);
  has_child_ = true;
}

}  // namespace blockexport::drivers
