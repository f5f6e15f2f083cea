// ThrottleLimits: the rates that a throttle group allows. Plain values; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace blockexport::drivers {

enum class ThrottleDirection : std::uint8_t { kRead, kWrite };
inline constexpr std::size_t kThrottleDirections = 2;

// Quantities that are limited. Those of one unit are together: both directions, reads alone, writes alone.
enum class ThrottleMetric : std::uint8_t {
  kBytes,
  kBytesRead,
  kBytesWritten,
  kRequests,
  kReads,
  kWrites,
};
inline constexpr std::size_t kThrottleMetrics = 6;

struct ThrottleRate {
  std::uint64_t average = 0;         // per second; 0: no limit
  std::uint64_t burst = 0;           // per second in a burst; 0: a tenth of a second of the average at once
  std::uint64_t burst_length_s = 1;  // how long a burst may last

  friend bool operator==(const ThrottleRate&, const ThrottleRate&) = default;
};

struct ThrottleLimits {
  // The largest rate, in bytes or requests per second; a burst has at most as many in all.
  static constexpr std::uint64_t kRateMax = 1'000'000'000'000'000;

  std::array<ThrottleRate, kThrottleMetrics> rates;
  std::uint64_t request_bytes = 0;  // a larger request counts as several; 0: each counts as one

  ThrottleRate& of(ThrottleMetric metric) { return rates[static_cast<std::size_t>(metric)]; }
  const ThrottleRate& of(ThrottleMetric metric) const { return rates[static_cast<std::size_t>(metric)]; }

  friend bool operator==(const ThrottleLimits&, const ThrottleLimits&) = default;
};

// Errors: limits that contradict each other, or are out of range; the texts are those of qemu-storage-daemon.
Result<> check_throttle_limits(const ThrottleLimits& limits);

}  // namespace blockexport::drivers
