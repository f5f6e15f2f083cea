#include "drivers/throttle/throttle_buckets.h"

#include <algorithm>
#include <cmath>

namespace blockexport::drivers {
namespace {

constexpr double kSecondNs = 1e9;
// A wait is never longer than this; the request then asks again.
constexpr double kWaitNsMax = 3600 * kSecondNs;

// The metrics of requests of a direction: bytes of both directions and of this one, and the same of requests.
std::array<ThrottleMetric, 4> metrics_of(ThrottleDirection direction) {
  using enum ThrottleMetric;
  if (direction == ThrottleDirection::kRead) return {kBytes, kBytesRead, kRequests, kReads};
  return {kBytes, kBytesWritten, kRequests, kWrites};
}

bool counts_bytes(ThrottleMetric metric) {
  return metric < ThrottleMetric::kRequests;
}

// The time in which a bucket leaks so much, rounded up.
std::uint64_t time_of(double amount, std::uint64_t rate) {
  return static_cast<std::uint64_t>(std::ceil(std::min(amount * kSecondNs / static_cast<double>(rate), kWaitNsMax)));
}

}  // namespace

void ThrottleBuckets::set_limits(const ThrottleLimits& limits, std::uint64_t now_ns) {
  limits_ = limits;
  buckets_ = {};
  leaked_until_ns_ = now_ns;
}

bool ThrottleBuckets::has_limit(ThrottleDirection direction) const {
  return std::ranges::any_of(metrics_of(direction),
                             [this](ThrottleMetric metric) { return limits_.of(metric).average != 0; });
}

void ThrottleBuckets::leak(std::uint64_t now_ns) {
  if (now_ns <= leaked_until_ns_) return;
  const double seconds = static_cast<double>(now_ns - leaked_until_ns_) / kSecondNs;
  leaked_until_ns_ = now_ns;
  for (std::size_t i = 0; i < kThrottleMetrics; ++i) {
    const ThrottleRate& rate = limits_.rates[i];
    Bucket& bucket = buckets_[i];
    bucket.level = std::max(bucket.level - static_cast<double>(rate.average) * seconds, 0.0);
    bucket.burst_level = std::max(bucket.burst_level - static_cast<double>(rate.burst) * seconds, 0.0);
  }
}

std::uint64_t ThrottleBuckets::wait_of(const ThrottleRate& rate, const Bucket& bucket) {
  if (rate.average == 0) return 0;
  const double brim = rate.burst != 0 ? static_cast<double>(rate.burst) * static_cast<double>(rate.burst_length_s)
                                      : static_cast<double>(rate.average) / 10;
  if (const double over = bucket.level - brim; over > 0) return time_of(over, rate.average);
  if (rate.burst_length_s <= 1) return 0;
  const double burst_over = bucket.burst_level - static_cast<double>(rate.burst) / 10;
  return burst_over > 0 ? time_of(burst_over, rate.burst) : 0;
}

std::uint64_t ThrottleBuckets::wait_ns(ThrottleDirection direction, std::uint64_t now_ns) {
  leak(now_ns);
  std::uint64_t wait_ns = 0;
  for (ThrottleMetric metric : metrics_of(direction)) {
    wait_ns = std::max(wait_ns, wait_of(limits_.of(metric), buckets_[static_cast<std::size_t>(metric)]));
  }
  return wait_ns;
}

void ThrottleBuckets::fill(ThrottleDirection direction, std::uint64_t bytes) {
  const double requests = limits_.request_bytes != 0 && bytes > limits_.request_bytes
                              ? static_cast<double>(bytes) / static_cast<double>(limits_.request_bytes)
                              : 1.0;
  for (ThrottleMetric metric : metrics_of(direction)) {
    Bucket& bucket = buckets_[static_cast<std::size_t>(metric)];
    const double amount = counts_bytes(metric) ? static_cast<double>(bytes) : requests;
    bucket.level += amount;
    if (limits_.of(metric).burst_length_s > 1) bucket.burst_level += amount;
  }
}

}  // namespace blockexport::drivers
