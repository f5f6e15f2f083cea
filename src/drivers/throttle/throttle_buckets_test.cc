#include "drivers/throttle/throttle_buckets.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

using enum ThrottleMetric;
using Direction = ThrottleDirection;

constexpr std::uint64_t kSecond = 1'000'000'000;

// A client that sends its next request as soon as the last one went, on a clock of its own.
class Client {
 public:
  explicit Client(const ThrottleLimits& limits) { buckets_.set_limits(limits, now_ns_); }

  // Number of requests that go within `duration_ns`.
  std::uint64_t run(Direction direction, std::uint64_t bytes, std::uint64_t duration_ns) {
    const std::uint64_t end_ns = now_ns_ + duration_ns;
    std::uint64_t count = 0;
    while (true) {
      const std::uint64_t wait_ns = buckets_.wait_ns(direction, now_ns_);
      if (now_ns_ + wait_ns > end_ns) break;
      now_ns_ += wait_ns;
      buckets_.fill(direction, bytes);
      ++count;
    }
    now_ns_ = end_ns;
    return count;
  }
  void pause(std::uint64_t duration_ns) { now_ns_ += duration_ns; }

 private:
  ThrottleBuckets buckets_;
  std::uint64_t now_ns_ = 5;
};

ThrottleLimits with(ThrottleMetric metric, ThrottleRate rate) {
  ThrottleLimits limits;
  limits.of(metric) = rate;
  return limits;
}

// Within one in a hundred.
void expect_near(std::uint64_t measured, std::uint64_t expected) {
  EXPECT_NEAR(static_cast<double>(measured), static_cast<double>(expected), static_cast<double>(expected) / 100);
}

TEST(ThrottleBucketsTest, LimitNothingWithoutARate) {
  ThrottleBuckets buckets;
  buckets.set_limits({}, 0);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(buckets.wait_ns(Direction::kRead, 0), 0u);
    buckets.fill(Direction::kRead, 1u << 30);
  }
  EXPECT_FALSE(buckets.has_limit(Direction::kRead));
  EXPECT_FALSE(buckets.has_limit(Direction::kWrite));
}

TEST(ThrottleBucketsTest, HoldTheAverageOfEachMetric) {
  for (const std::uint64_t rate : {1u, 7u, 100u, 12345u, 1000000u}) {
    Client client(with(kRequests, {.average = rate}));
    (void)client.run(Direction::kRead, 512, kSecond);  // the burst
    expect_near(client.run(Direction::kRead, 512, 100 * kSecond), 100 * rate);
  }
  for (const std::uint64_t rate : {4096u, 1000000u, 100000000u}) {
    Client client(with(kBytesWritten, {.average = rate}));
    (void)client.run(Direction::kWrite, 4096, 10 * kSecond);
    expect_near(client.run(Direction::kWrite, 4096, 1000 * kSecond) * 4096, 1000 * rate);
  }
}

TEST(ThrottleBucketsTest, LetATenthOfASecondGoAtOnce) {
  Client client(with(kReads, {.average = 1000}));
  EXPECT_EQ(client.run(Direction::kRead, 4096, 0), 101u);
  client.pause(10 * kSecond);
  EXPECT_EQ(client.run(Direction::kRead, 4096, 0), 101u) << "a pause saves up no more than that";
}

TEST(ThrottleBucketsTest, LetABurstLastAsLongAsItMay) {
  // 1000 in the first instants, as one second of the burst rate.
  Client at_once(with(kReads, {.average = 100, .burst = 1000}));
  EXPECT_EQ(at_once.run(Direction::kRead, 4096, 0), 1001u);
  expect_near(at_once.run(Direction::kRead, 4096, 100 * kSecond), 10'000);
  // For ten seconds at the burst rate, then at the average.
  Client longer(with(kReads, {.average = 100, .burst = 1000, .burst_length_s = 10}));
  expect_near(longer.run(Direction::kRead, 4096, 5 * kSecond), 5100);
  (void)longer.run(Direction::kRead, 4096, 10 * kSecond);
  expect_near(longer.run(Direction::kRead, 4096, 100 * kSecond), 10'000);
}

TEST(ThrottleBucketsTest, ChargeALargeRequestToThoseAfterIt) {
  Client client(with(kBytes, {.average = 1'000'000}));
  EXPECT_EQ(client.run(Direction::kWrite, 10'000'000, 0), 1u);
  EXPECT_EQ(client.run(Direction::kRead, 1, 9 * kSecond), 0u) << "a total counts both directions";
  EXPECT_GE(client.run(Direction::kRead, 1, kSecond), 1u);
}

TEST(ThrottleBucketsTest, KeepTheDirectionsApart) {
  ThrottleLimits limits = with(kReads, {.average = 10});
  ThrottleBuckets buckets;
  buckets.set_limits(limits, 0);
  EXPECT_TRUE(buckets.has_limit(Direction::kRead));
  EXPECT_FALSE(buckets.has_limit(Direction::kWrite));
  for (int i = 0; i < 50; ++i) buckets.fill(Direction::kRead, 1);
  EXPECT_GT(buckets.wait_ns(Direction::kRead, 0), 0u);
  EXPECT_EQ(buckets.wait_ns(Direction::kWrite, 0), 0u);
}

TEST(ThrottleBucketsTest, CountALargeRequestAsSeveral) {
  ThrottleLimits limits = with(kRequests, {.average = 100});
  limits.request_bytes = 4096;
  Client client(limits);
  (void)client.run(Direction::kRead, 40960, kSecond);
  expect_near(client.run(Direction::kRead, 40960, 100 * kSecond), 1000);
  Client small(limits);
  (void)small.run(Direction::kRead, 512, kSecond);
  expect_near(small.run(Direction::kRead, 512, 100 * kSecond), 10'000);
}

TEST(ThrottleBucketsTest, AreEmptyAfterAChangeOfLimits) {
  ThrottleBuckets buckets;
  buckets.set_limits(with(kReads, {.average = 10}), 0);
  for (int i = 0; i < 50; ++i) buckets.fill(Direction::kRead, 1);
  buckets.set_limits(with(kReads, {.average = 20}), 100);
  EXPECT_EQ(buckets.wait_ns(Direction::kRead, 100), 0u);
  EXPECT_EQ(buckets.wait_ns(Direction::kRead, 50), 0u) << "an earlier time counts as the latest one";
}

}  // namespace
}  // namespace blockexport::drivers
