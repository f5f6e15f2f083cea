#include "drivers/throttle/throttle_group.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using enum ThrottleMetric;
using Direction = ThrottleDirection;

constexpr std::uint64_t kSecond = 1'000'000'000;

ThrottleLimits with(ThrottleMetric metric, ThrottleRate rate) {
  ThrottleLimits limits;
  limits.of(metric) = rate;
  return limits;
}

class ThrottleGroupTest : public block::ReactorTest {
 protected:
  // In a simulation time is exact; otherwise a test only sees that requests are never too early.
  static bool is_simulated() {
    const char* backend = std::getenv("BLOCKEXPORT_TEST_BACKEND");
    return backend != nullptr && std::string_view(backend) == "simulation";
  }
  std::shared_ptr<ThrottleGroup> make_group(const ThrottleLimits& limits) {
    return std::make_shared<ThrottleGroup>(limits, reactor().now_ns());
  }

  // Sends `count` requests one after the other, and writes `name` down for each that goes.
  aio::Task<void> send(ThrottleMember& member, Direction direction, int count, char name) {
    for (int i = 0; i < count; ++i) {
      const IoResult admitted = co_await member.admit(direction, 4096);
      if (admitted) order_ += name;
    }
  }
  // Sends one request, and writes down how it ended.
  aio::Task<void> send_one(ThrottleMember& member, char name) {
    const IoResult admitted = co_await member.admit(Direction::kRead, 1);
    order_ += admitted ? name : '-';
  }
  aio::Task<void> sleep(std::uint64_t duration_ns) {
    (void)co_await reactor().sleep_until(reactor().now_ns() + duration_ns);
  }

  // Waits until only those requests went that `gone` names.
  aio::Task<void> change_limits_later(ThrottleGroup& group, ThrottleLimits limits, std::string gone) {
    co_await sleep(10'000'000);
    EXPECT_EQ(order_, gone);
    group.set_limits(limits, reactor().now_ns());
  }
  aio::Task<void> drain_both(ThrottleMember& drained, ThrottleMember& other) {
    co_await sleep(1'000'000);
    EXPECT_EQ(order_, "d");
    drained.begin_drain();
    co_await sleep(1'000'000);
    // Also those that came afterwards; the other member waits.
    EXPECT_EQ(order_, "dddddddddd");
    drained.end_drain();
    other.begin_drain();
    co_await sleep(1'000'000);
    other.end_drain();
  }

  std::string order_;
};

TEST_F(ThrottleGroupTest, LetsRequestsGoAtTheAverageRate) {
  const auto group = make_group(with(kReads, {.average = 1000}));
  ThrottleMember member(group);
  EXPECT_TRUE(member.must_ask(Direction::kRead));
  EXPECT_FALSE(member.must_ask(Direction::kWrite));
  const std::uint64_t started_ns = reactor().now_ns();
  run(send(member, Direction::kRead, 301, 'a'));
  const std::uint64_t taken_ns = reactor().now_ns() - started_ns;
  // A tenth of a second at once, and then one each millisecond.
  EXPECT_GE(taken_ns, 199'000'000u);
  if (is_simulated()) {
    EXPECT_LE(taken_ns, 201'000'000u);
  }
}

TEST_F(ThrottleGroupTest, LetsMembersTakeTurns) {
  const auto group = make_group(with(kRequests, {.average = 1000}));
  ThrottleMember greedy(group);
  ThrottleMember modest(group);
  // Many more requests of one node than of the other, but always some of both.
  for (int i = 0; i < 30; ++i) start(send(greedy, Direction::kRead, 10, 'g'));
  for (int i = 0; i < 10; ++i) start(send(modest, Direction::kRead, 10, 'm'));
  until_idle();
  ASSERT_EQ(order_.size(), 400u);
  // While both wait, none goes much more often than the other, even if the test's thread sleeps for some time.
  const std::string contended = order_.substr(120, 100);
  EXPECT_EQ(contended.find("mmm"), std::string::npos) << order_;
  EXPECT_EQ(contended.find("gggg"), std::string::npos) << order_;
  EXPECT_GE(std::ranges::count(contended, 'm'), 40) << order_;
}

TEST_F(ThrottleGroupTest, LimitsAllMembersTogether) {
  const auto group = make_group(with(kBytes, {.average = 4096 * 1000}));
  ThrottleMember a(group);
  ThrottleMember b(group);
  EXPECT_EQ(group->member_count(), 2u);
  const std::uint64_t started_ns = reactor().now_ns();
  start(send(a, Direction::kRead, 150, 'a'));
  start(send(b, Direction::kWrite, 150, 'b'));
  until_idle();
  const std::uint64_t taken_ns = reactor().now_ns() - started_ns;
  EXPECT_GE(taken_ns, 197'000'000u);
  if (is_simulated()) {
    EXPECT_LE(taken_ns, 202'000'000u);
  }
}

TEST_F(ThrottleGroupTest, GivesWaitingRequestsNewTimesWhenLimitsChange) {
  const auto group = make_group(with(kReads, {.average = 1}));
  ThrottleMember member(group);
  const std::uint64_t started_ns = reactor().now_ns();
  // The second of them would have to wait for a second, the last for five.
  for (int i = 0; i < 6; ++i) start(send(member, Direction::kRead, 1, 'a'));
  start(change_limits_later(*group, with(kReads, {.average = 100}), "a"));
  until_idle();
  EXPECT_EQ(order_, "aaaaaa");
  EXPECT_LT(reactor().now_ns() - started_ns, kSecond / 2);
  group->set_limits(with(kReads, {.average = 1}), reactor().now_ns());
  for (int i = 0; i < 3; ++i) start(send(member, Direction::kRead, 1, 'b'));
  start(change_limits_later(*group, {}, "aaaaaab"));
  until_idle();
  EXPECT_EQ(order_, "aaaaaabbb");
  EXPECT_FALSE(member.must_ask(Direction::kRead));
  EXPECT_LT(reactor().now_ns() - started_ns, kSecond);
}

TEST_F(ThrottleGroupTest, LetsTheRequestsOfADrainedMemberGo) {
  const auto group = make_group(with(kReads, {.average = 1}));
  ThrottleMember drained(group);
  ThrottleMember other(group);
  const std::uint64_t started_ns = reactor().now_ns();
  for (int i = 0; i < 5; ++i) start(send(drained, Direction::kRead, 2, 'd'));
  start(send_one(other, 'o'));
  start(drain_both(drained, other));
  until_idle();
  EXPECT_EQ(order_, "ddddddddddo");
  EXPECT_LT(reactor().now_ns() - started_ns, kSecond);
}

TEST_F(ThrottleGroupTest, PassesTheTurnOfACancelledRequestOn) {
  const auto group = make_group(with(kReads, {.average = 100}));
  ThrottleMember member(group);
  run(send(member, Direction::kRead, 11, 'a'));
  aio::Scope first(reactor());
  first.spawn("first", send_one(member, 'x'));
  first.spawn("second", send_one(member, 'x'));
  start(send_one(member, 'b'));
  first.cancel();
  run(first.join());
  until_idle();
  EXPECT_EQ(order_, "aaaaaaaaaaa--b");
}

TEST_F(ThrottleGroupTest, ForgetsAMemberThatHadTheLastTurn) {
  const auto group = make_group(with(kReads, {.average = 1000}));
  ThrottleMember a(group);
  auto b = std::make_unique<ThrottleMember>(group);
  start(send(a, Direction::kRead, 100, 'a'));
  start(send(*b, Direction::kRead, 100, 'b'));
  until_idle();
  b.reset();
  EXPECT_EQ(group->member_count(), 1u);
  run(send(a, Direction::kRead, 20, 'a'));
  EXPECT_EQ(std::ranges::count(order_, 'a'), 120);
}

// Nodes on several reactors, whose limits change, whose nodes are drained and whose requests are cancelled, in a random
// order: every request ends, and no more go than the limits allow.
class SharedGroup {
 public:
  explicit SharedGroup(std::uint64_t seed) : reactors_(3, {.seed = seed}), random_(seed) {}

  void run() {
    reactors_.run(drive());
    EXPECT_EQ(ended_, started_);
    EXPECT_GT(gone_, 0u);
  }

 private:
  static constexpr std::uint64_t kRate = 2000;

  aio::Task<void> drive() {
    aio::Reactor& control = reactors_.control();
    group_ = std::make_shared<ThrottleGroup>(with(kRequests, {.average = kRate}), control.now_ns());
    for (auto& member : members_) member.emplace(group_);
    const std::uint64_t started_ns = control.now_ns();
    aio::Scope scope(control);
    for (std::size_t i = 0; i < 12; ++i) scope.spawn("client", on_a_reactor(i));
    for (int i = 0; i < 20; ++i) {
      (void)co_await control.sleep_until(control.now_ns() + random_.below(5'000'000));
      if (!is_exact_) co_await disturb();
    }
    co_await scope.join();
    const double seconds = static_cast<double>(control.now_ns() - started_ns) / 1e9;
    if (is_exact_) {
      EXPECT_LE(static_cast<double>(gone_), seconds * kRate + kRate / 10.0 + 2);
      EXPECT_GE(static_cast<double>(gone_), seconds * kRate * 0.99);
    }
    for (auto& member : members_) member.reset();
  }

  aio::Task<void> disturb() {
    ThrottleMember& member = *members_[random_.below(members_.size())];
    const std::uint64_t now_ns = reactors_.control().now_ns();
    switch (random_.below(3)) {
      case 0:
        member.begin_drain();
        (void)co_await reactors_.control().sleep_until(now_ns + 100'000);
        member.end_drain();
        break;
      case 1:
        group_->set_limits(with(kRequests, {.average = random_.between(100, 100'000)}), now_ns);
        break;
      case 2:
        group_->set_limits({}, now_ns);
        break;
    }
  }

  aio::Task<void> on_a_reactor(std::size_t index) {
    co_await aio::run_on(reactors_.data_reactor(index % reactors_.size()), "client", send(*members_[index % 4]));
  }
  aio::Task<void> send(ThrottleMember& member) {
    for (int i = 0; i < 50; ++i) {
      ++started_;
      if (co_await member.admit(i % 3 == 0 ? Direction::kWrite : Direction::kRead, 512)) ++gone_;
      ++ended_;
    }
  }

 public:
  bool is_exact_ = false;

 private:
  aio::testing::Interleaving reactors_;
  aio::Random random_;
  std::shared_ptr<ThrottleGroup> group_;
  std::array<std::optional<ThrottleMember>, 4> members_;
  std::uint64_t started_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t gone_ = 0;
};

TEST(SharedThrottleGroupTest, LosesNoRequestOnSeveralReactors) {
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(50); ++seed) {
    SCOPED_TRACE(seed);
    SharedGroup(seed).run();
  }
}

TEST(SharedThrottleGroupTest, HoldsTheRateOnSeveralReactors) {
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(20); ++seed) {
    SCOPED_TRACE(seed);
    SharedGroup group(seed);
    group.is_exact_ = true;
    group.run();
  }
}

}  // namespace
}  // namespace blockexport::drivers
