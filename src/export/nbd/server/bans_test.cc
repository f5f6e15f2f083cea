#include "export/nbd/server/bans.h"

#include <gtest/gtest.h>

namespace blockexport::nbd {
namespace {

TEST(BansTest, AnIdentityIsBannedWhereverItComesFrom) {
  Bans bans;
  ASSERT_TRUE(bans.add(Bans::By::kIdentity, "CN=anna", 100, 0));
  EXPECT_EQ(bans.rest_ns("CN=anna", "10.0.0.1", 40), 60u);
  EXPECT_EQ(bans.rest_ns("CN=anna", "10.0.0.2", 99), 1u);
  EXPECT_EQ(bans.rest_ns("CN=anna", "10.0.0.1", 100), std::nullopt);
  EXPECT_EQ(bans.rest_ns("CN=bert", "10.0.0.1", 40), std::nullopt);
  EXPECT_EQ(bans.rest_ns("", "CN=anna", 40), std::nullopt);
}

TEST(BansTest, AGroupIsBannedAsFarAsItsClientsHaveNoIdentity) {
  Bans bans;
  ASSERT_TRUE(bans.add(Bans::By::kPeerGroup, "10.0.0.1", 100, 0));
  EXPECT_EQ(bans.rest_ns("", "10.0.0.1", 40), 60u);
  EXPECT_EQ(bans.rest_ns("", "10.0.0.2", 40), std::nullopt);
  EXPECT_EQ(bans.rest_ns("CN=anna", "10.0.0.1", 40), std::nullopt);
}

TEST(BansTest, ALaterBanOnlyMakesItLonger) {
  Bans bans;
  ASSERT_TRUE(bans.add(Bans::By::kIdentity, "x", 100, 0));
  ASSERT_TRUE(bans.add(Bans::By::kIdentity, "x", 50, 0));
  EXPECT_EQ(bans.rest_ns("x", "", 0), 100u);
  ASSERT_TRUE(bans.add(Bans::By::kIdentity, "x", 200, 0));
  EXPECT_EQ(bans.rest_ns("x", "", 0), 200u);
}

TEST(BansTest, TheirNumberIsLimitedAndThoseThatHaveEndedDoNotCount) {
  Bans bans;
  for (std::size_t i = 0; i < kBansMax; ++i) {
    ASSERT_TRUE(bans.add(Bans::By::kIdentity, std::to_string(i), i == 0 ? 10 : 100, 0));
  }
  EXPECT_EQ(bans.add(Bans::By::kIdentity, "more", 100, 0).error().message(), "There are 4096 banned clients already");
  EXPECT_TRUE(bans.add(Bans::By::kIdentity, "1", 300, 0));
  EXPECT_TRUE(bans.add(Bans::By::kIdentity, "more", 100, 10));
  EXPECT_EQ(bans.rest_ns("more", "", 10), 90u);
}

}  // namespace
}  // namespace blockexport::nbd
