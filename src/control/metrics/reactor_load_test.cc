#include "control/metrics/reactor_load.h"

#include <gtest/gtest.h>

namespace blockexport::control {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

double ratio(ReactorLoads& loads, std::uint64_t busy_ns, std::uint64_t now_ns, std::uint64_t made_ns = 0) {
  const std::vector<ReactorValues> values =
      loads.take({{.name = "main", .made_ns = made_ns, .busy_ns = busy_ns}}, now_ns);
  EXPECT_EQ(values.size(), 1u);
  return values.front().busy_ratio;
}

TEST(ReactorLoadTest, IsTheShareSinceTheReadingBefore) {
  ReactorLoads loads;
  EXPECT_DOUBLE_EQ(ratio(loads, kSecondNs, 10 * kSecondNs), 0.1);
  EXPECT_DOUBLE_EQ(ratio(loads, 11 * kSecondNs, 20 * kSecondNs), 1.0);
  EXPECT_DOUBLE_EQ(ratio(loads, 11 * kSecondNs, 30 * kSecondNs), 0.0);
}

TEST(ReactorLoadTest, ASecondReaderDoesNotShortenTheTime) {
  ReactorLoads loads;
  EXPECT_DOUBLE_EQ(ratio(loads, 5 * kSecondNs, 10 * kSecondNs), 0.5);
  EXPECT_DOUBLE_EQ(ratio(loads, 10 * kSecondNs, 20 * kSecondNs), 0.5);
  // Half a second later, all of it busy: the share since the reading at 10 s.
  EXPECT_DOUBLE_EQ(ratio(loads, 10 * kSecondNs + kSecondNs / 2, 20 * kSecondNs + kSecondNs / 2), 5.5 / 10.5);
  EXPECT_DOUBLE_EQ(ratio(loads, 11 * kSecondNs, 21 * kSecondNs), 1.0);
}

TEST(ReactorLoadTest, AYoungReactorAndANewOneOfTheSameNameBeginWhenTheyWereMade) {
  ReactorLoads loads;
  EXPECT_DOUBLE_EQ(ratio(loads, 0, 0), 0.0);
  EXPECT_DOUBLE_EQ(ratio(loads, kSecondNs / 4, kSecondNs / 2), 0.5);
  EXPECT_DOUBLE_EQ(ratio(loads, 9 * kSecondNs, 10 * kSecondNs), 0.9);
  EXPECT_DOUBLE_EQ(ratio(loads, kSecondNs, 20 * kSecondNs, 16 * kSecondNs), 0.25);
}

TEST(ReactorLoadTest, TheShareIsAtMostOne) {
  ReactorLoads loads;
  EXPECT_DOUBLE_EQ(ratio(loads, 11 * kSecondNs, 10 * kSecondNs), 1.0);
}

}  // namespace
}  // namespace blockexport::control
