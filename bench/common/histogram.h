// Histogram: latencies in logarithmic buckets (32 per power of two, at most 3 % wide), in constant memory.
//
// Thread: one owner. record() neither allocates nor branches on history.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace blockexport::bench {

class Histogram {
 public:
  void record(uint64_t nanoseconds) {
    ++buckets_[index_of(nanoseconds)];
    ++count_;
  }

  void clear() { *this = Histogram(); }

  // The latency in nanoseconds that a fraction `part` (0 to 1) of the operations did not exceed. 0 when empty.
  uint64_t percentile(double part) const;

 private:
  static constexpr unsigned kSubBits = 5;
  static constexpr std::size_t kSub = std::size_t{1} << kSubBits;

  static std::size_t index_of(uint64_t value) {
    if (value < kSub) {
      return value;
    }
    unsigned exponent = static_cast<unsigned>(std::bit_width(value)) - 1 - kSubBits;
    return (exponent + 1) * kSub + ((value >> exponent) - kSub);
  }
  static uint64_t middle_of(std::size_t index);

  std::array<uint64_t, (64 - kSubBits + 1) * kSub> buckets_{};
  uint64_t count_ = 0;
};

}  // namespace blockexport::bench
