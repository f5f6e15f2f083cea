#include "drivers/qcow2/tables/cluster_pins.h"

#include <optional>

#include "block/testing/reactor_test.h"

namespace blockexport::drivers::qcow2 {
namespace {

class ClusterPinsTest : public block::ReactorTest {
 protected:
  ClusterPins pins_;
};

TEST_F(ClusterPinsTest, AnEpochPassesAtOnceWithoutPins) {
  const std::uint64_t epoch = pins_.epoch();
  EXPECT_FALSE(pins_.has_passed(epoch));
  pins_.advance();
  EXPECT_TRUE(pins_.has_passed(epoch));
}

TEST_F(ClusterPinsTest, APinHoldsItsEpochOpen) {
  std::optional<ClusterPins::Pin> pin(pins_.pin(reactor()));
  const std::uint64_t epoch = pins_.epoch();
  for (int i = 0; i < 5; ++i) pins_.advance();
  EXPECT_FALSE(pins_.has_passed(epoch));
  pin.reset();
  pins_.advance();
  EXPECT_TRUE(pins_.has_passed(epoch));
}

TEST_F(ClusterPinsTest, LaterPinsDoNotHoldAnEarlierEpochOpen) {
  std::optional<ClusterPins::Pin> early(pins_.pin(reactor()));
  const std::uint64_t epoch = pins_.epoch();
  pins_.advance();
  // Requests overlap, so that there is always a pin.
  std::optional<ClusterPins::Pin> late(pins_.pin(reactor()));
  early.reset();
  for (int i = 0; i < 3 && !pins_.has_passed(epoch); ++i) {
    pins_.advance();
    ClusterPins::Pin next = pins_.pin(reactor());
    late.reset();
    late.emplace(std::move(next));
  }
  EXPECT_TRUE(pins_.has_passed(epoch));
}

TEST_F(ClusterPinsTest, AMovedPinCountsOnce) {
  {
    ClusterPins::Pin pin = pins_.pin(reactor());
    const ClusterPins::Pin moved(std::move(pin));
  }
  const std::uint64_t epoch = pins_.epoch();
  pins_.advance();
  EXPECT_TRUE(pins_.has_passed(epoch));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
