#include "drivers/throttle/throttle_limits.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

using enum ThrottleMetric;

std::string error_of(const ThrottleLimits& limits) {
  const Result<> checked = check_throttle_limits(limits);
  return checked ? "" : std::string(checked.error().message());
}

ThrottleLimits with(ThrottleMetric metric, ThrottleRate rate) {
  ThrottleLimits limits;
  limits.of(metric) = rate;
  return limits;
}

TEST(ThrottleLimitsTest, AcceptsNoLimitAndEachKindOfLimit) {
  EXPECT_EQ(error_of({}), "");
  for (const auto metric : {kBytes, kBytesRead, kBytesWritten, kRequests, kReads, kWrites}) {
    EXPECT_EQ(error_of(with(metric, {.average = ThrottleLimits::kRateMax})), "");
    EXPECT_EQ(error_of(with(metric, {.average = 10, .burst = 20, .burst_length_s = 60})), "");
  }
}

TEST(ThrottleLimitsTest, RefusesATotalBesideOneDirection) {
  const std::string text = "bps/iops/max total values and read/write values cannot be used at the same time";
  ThrottleLimits limits = with(kBytes, {.average = 1});
  limits.of(kBytesRead).average = 1;
  EXPECT_EQ(error_of(limits), text);
  limits = with(kRequests, {.average = 1, .burst = 1});
  limits.of(kWrites).burst = 1;
  EXPECT_EQ(error_of(limits), text);
  limits = with(kBytes, {.average = 1});
  limits.of(kReads).average = 1;
  EXPECT_EQ(error_of(limits), "") << "bytes and requests are limited separately";
}

TEST(ThrottleLimitsTest, RefusesValuesThatDoNotFit) {
  const std::string range = "bps/iops/max values must be within [0, 1000000000000000]";
  EXPECT_EQ(error_of(with(kBytes, {.average = ThrottleLimits::kRateMax + 1})), range);
  EXPECT_EQ(error_of(with(kBytes, {.average = 1, .burst = static_cast<std::uint64_t>(-1)})), range);
  EXPECT_EQ(error_of(with(kReads, {.average = 1, .burst_length_s = 0})), "the burst length cannot be 0");
  EXPECT_EQ(error_of(with(kReads, {.average = 1, .burst_length_s = 2})), "burst length set without burst rate");
  EXPECT_EQ(error_of(with(kReads, {.average = 1, .burst = 1000, .burst_length_s = ThrottleLimits::kRateMax})),
            "burst length too high for this burst rate");
  EXPECT_EQ(error_of(with(kReads, {.burst = 5})), "bps_max/iops_max require corresponding bps/iops values");
  EXPECT_EQ(error_of(with(kReads, {.average = 10, .burst = 5})), "bps_max/iops_max cannot be lower than bps/iops");
}

TEST(ThrottleLimitsTest, WantsALimitOfRequestsForTheirSize) {
  ThrottleLimits limits = with(kBytes, {.average = 10});
  limits.request_bytes = 4096;
  EXPECT_EQ(error_of(limits), "iops size requires an iops value to be set");
  limits.of(kWrites).average = 10;
  EXPECT_EQ(error_of(limits), "");
}

}  // namespace
}  // namespace blockexport::drivers
