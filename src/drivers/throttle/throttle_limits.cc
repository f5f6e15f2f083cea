#include "drivers/throttle/throttle_limits.h"

#include <fmt/format.h>

namespace blockexport::drivers {
namespace {

// Returns true if a rate of both directions stands beside one of a single direction.
bool is_contradictory(const ThrottleRate& both, const ThrottleRate& reads, const ThrottleRate& writes) {
  const bool has_average = both.average != 0 && (reads.average != 0 || writes.average != 0);
  const bool has_burst = both.burst != 0 && (reads.burst != 0 || writes.burst != 0);
  return has_average || has_burst;
}

Result<> check_rate(const ThrottleRate& rate) {
  constexpr std::uint64_t kMax = ThrottleLimits::kRateMax;
  if (rate.average > kMax || rate.burst > kMax) {
    return fail(fmt::format("bps/iops/max values must be within [0, {}]", kMax));
  }
  if (rate.burst_length_s == 0) return fail("the burst length cannot be 0");
  if (rate.burst_length_s > 1 && rate.burst == 0) return fail("burst length set without burst rate");
  if (rate.burst == 0) return {};
  if (rate.burst_length_s > kMax / rate.burst) return fail("burst length too high for this burst rate");
  if (rate.average == 0) return fail("bps_max/iops_max require corresponding bps/iops values");
  if (rate.burst < rate.average) return fail("bps_max/iops_max cannot be lower than bps/iops");
  return {};
}

}  // namespace

Result<> check_throttle_limits(const ThrottleLimits& limits) {
  using enum ThrottleMetric;
  if (is_contradictory(limits.of(kBytes), limits.of(kBytesRead), limits.of(kBytesWritten)) ||
      is_contradictory(limits.of(kRequests), limits.of(kReads), limits.of(kWrites))) {
    return fail("bps/iops/max total values and read/write values cannot be used at the same time");
  }
  const bool limits_requests =
      limits.of(kRequests).average != 0 || limits.of(kReads).average != 0 || limits.of(kWrites).average != 0;
  if (limits.request_bytes != 0 && !limits_requests) return fail("iops size requires an iops value to be set");
  for (const ThrottleRate& rate : limits.rates) TRY(check_rate(rate));
  return {};
}

}  // namespace blockexport::drivers
