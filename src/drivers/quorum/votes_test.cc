#include "drivers/quorum/votes.h"

#include <gtest/gtest.h>

#include <string>

namespace blockexport::drivers {
namespace {

using Group = std::vector<std::size_t>;

Votes count(const std::string& brought) {
  Votes votes;
  for (std::size_t i = 0; i < brought.size(); ++i) {
    votes.add(i, [&](std::size_t other) { return brought[other] == brought[i]; });
  }
  return votes;
}

TEST(VotesTest, EqualVotesAreOneGroup) {
  EXPECT_TRUE(count("").empty());
  EXPECT_FALSE(count("aaa").empty());
  EXPECT_TRUE(count("aaa").is_unanimous());
  EXPECT_FALSE(count("aab").is_unanimous());
}

TEST(VotesTest, TheLargestGroupWins) {
  EXPECT_EQ(count("abab a").winner(), (Group{0, 2, 5}));
  EXPECT_EQ(count("abbb").winner(), (Group{1, 2, 3}));
}

TEST(VotesTest, TheLastOfEquallyLargeGroupsWins) {
  EXPECT_EQ(count("ab").winner(), (Group{1}));
  EXPECT_EQ(count("abba").winner(), (Group{1, 2}));
  EXPECT_EQ(count("abcab").winner(), (Group{1, 4}));
}

}  // namespace
}  // namespace blockexport::drivers
