// ThrottleBuckets: leaky buckets, which tell how long a request has to wait so that the limits hold.
//
// A request that goes fills the buckets of its direction, and they leak at the average rate. Requests may go while no
// bucket is over its brim: without a burst that is a tenth of a second of the average; with one it is the burst rate
// times its length, and a second bucket, which leaks at the burst rate, limits the burst. So a single request may be
// larger than any bucket, and the next one pays for it. A pure function of the times that it is given; thread: one at a
// time.
#pragma once

#include <array>
#include <cstdint>

#include "drivers/throttle/throttle_limits.h"

namespace blockexport::drivers {

class ThrottleBuckets {
 public:
  // Empties the buckets. Times are of one clock, in nanoseconds; one that is before an earlier one counts as that.
  void set_limits(const ThrottleLimits& limits, std::uint64_t now_ns);
  const ThrottleLimits& limits() const { return limits_; }

  // Returns true if requests of the direction are limited at all.
  bool has_limit(ThrottleDirection direction) const;
  // The time until a request of the direction may go; 0: now.
  std::uint64_t wait_ns(ThrottleDirection direction, std::uint64_t now_ns);
  // A request goes.
  void fill(ThrottleDirection direction, std::uint64_t bytes);

 private:
  struct Bucket {
    double level = 0;
    double burst_level = 0;
  };

  void leak(std::uint64_t now_ns);
  static std::uint64_t wait_of(const ThrottleRate& rate, const Bucket& bucket);

  ThrottleLimits limits_;
  std::array<Bucket, kThrottleMetrics> buckets_;
  std::uint64_t leaked_until_ns_ = 0;
};

}  // namespace blockexport::drivers
