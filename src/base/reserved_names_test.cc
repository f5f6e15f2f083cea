#include "base/reserved_names.h"

#include <gtest/gtest.h>

#include <optional>

namespace blockexport {
namespace {

TEST(ReservedNamesTest, ANameIsReservedForAsLongAsItsReservationLives) {
  ReservedNames names;
  EXPECT_FALSE(names.contains("a"));
  std::optional<ReservedNames::Reservation> reservation(names.reserve("a"));
  EXPECT_TRUE(names.contains("a"));
  EXPECT_FALSE(names.contains("b"));
  reservation.reset();
  EXPECT_FALSE(names.contains("a"));
}

TEST(ReservedNamesTest, AReservationThatWasMovedIsGivenBackOnce) {
  ReservedNames names;
  {
    ReservedNames::Reservation first = names.reserve("a");
    {
      const ReservedNames::Reservation second = std::move(first);
      EXPECT_TRUE(names.contains("a"));
    }
    EXPECT_FALSE(names.contains("a"));
  }
  EXPECT_FALSE(names.contains("a"));
}

}  // namespace
}  // namespace blockexport
