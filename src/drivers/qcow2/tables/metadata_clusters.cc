#include "drivers/qcow2/tables/metadata_clusters.h"

#include <algorithm>

namespace blockexport::drivers::qcow2 {

void MetadataClusters::add_fixed(std::uint64_t first, std::uint64_t count) {
  if (count != 0) fixed_.push_back({first, first + count});
}

void MetadataClusters::settle() {
  std::ranges::sort(fixed_, {}, &Clusters::first);
  std::size_t kept = 0;
  for (std::size_t i = 1; i < fixed_.size(); ++i) {
    if (fixed_[i].first <= fixed_[kept].end) {
      fixed_[kept].end = std::max(fixed_[kept].end, fixed_[i].end);
    } else {
      fixed_[++kept] = fixed_[i];
    }
  }
  if (!fixed_.empty()) fixed_.resize(kept + 1);
  std::vector<Clusters>(fixed_).swap(fixed_);  // frees the memory of those that were joined
}

bool MetadataClusters::contains_fixed(std::uint64_t first, std::uint64_t count) const {
  const auto after = std::ranges::upper_bound(fixed_, first, {}, &Clusters::end);
  return after != fixed_.end() && after->first < first + count;
}

void MetadataClusters::remove(std::uint64_t cluster) {
  added_.erase(cluster);
  if (contains_fixed(cluster, 1)) removed_.insert(cluster);
}

bool MetadataClusters::contains(std::uint64_t first, std::uint64_t count) const {
  const auto next = added_.lower_bound(first);
  if (next != added_.end() && *next < first + count) return true;
  if (!contains_fixed(first, count)) return false;
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    if (contains_fixed(cluster, 1) && !removed_.contains(cluster)) return true;
  }
  return false;
}

}  // namespace blockexport::drivers::qcow2
