#include "common/histogram.h"

namespace blockexport::bench {

uint64_t Histogram::middle_of(std::size_t index) {
  if (index < kSub) {
    return index;
  }
  std::size_t exponent = index / kSub - 1;
  uint64_t lowest = (uint64_t{kSub} + index % kSub) << exponent;
  return lowest + ((uint64_t{1} << exponent) >> 1);
}

uint64_t Histogram::percentile(double part) const {
  auto wanted = static_cast<uint64_t>(static_cast<double>(count_) * part);
  uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (buckets_[i] != 0 && seen >= wanted) {
      return middle_of(i);
    }
  }
  return 0;
}

}  // namespace blockexport::bench
