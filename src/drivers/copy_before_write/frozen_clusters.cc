#include "drivers/copy_before_write/frozen_clusters.h"

#include <algorithm>

namespace blockexport::drivers {

using block::DirtyBits;
using block::Range;

std::expected<std::unique_ptr<FrozenClusters>, Errno> FrozenClusters::create(std::uint64_t size_bytes,
                                                                             std::uint32_t cluster_bytes,
                                                                             const DirtyBits* only) {
  auto to_copy = DirtyBits::create(size_bytes, cluster_bytes);
  if (!to_copy) return std::unexpected(to_copy.error());
  if (only != nullptr) {
    (*to_copy)->merge(*only);
  } else {
    (*to_copy)->mark({0, size_bytes});
  }
  auto readable = (*to_copy)->copy();
  if (!readable) return std::unexpected(readable.error());
  return std::unique_ptr<FrozenClusters>(new FrozenClusters(std::move(*to_copy), std::move(*readable)));
}

Range FrozenClusters::around(Range range) const {
  const std::uint64_t mask = cluster_bytes() - 1;
  const std::uint64_t start = range.offset & ~mask;
  const std::uint64_t end = std::min((range.end() + mask) & ~mask, size_bytes());
  return start < end ? Range{start, end - start} : Range{};
}

Range FrozenClusters::inside(Range range) const {
  const std::uint64_t mask = cluster_bytes() - 1;
  const std::uint64_t start = (range.offset + mask) & ~mask;
  const std::uint64_t end = range.end() >= size_bytes() ? size_bytes() : range.end() & ~mask;
  return start < end ? Range{start, end - start} : Range{};
}

void FrozenClusters::set_copied(Range clusters) {
  std::lock_guard guard(clearing_);
  to_copy_->clear(clusters);
}

void FrozenClusters::drop(Range clusters) {
  std::lock_guard guard(clearing_);
  readable_->clear(clusters);
  to_copy_->clear(clusters);
}

}  // namespace blockexport::drivers
