#include "drivers/quorum/quorum_options.h"

#include <gtest/gtest.h>

#include <string>

namespace blockexport::drivers {
namespace {

schema::BlockdevOptionsQuorum options(std::size_t count, std::int64_t threshold) {
  schema::BlockdevOptionsQuorum given;
  for (std::size_t i = 0; i < count; ++i) given.children.push_back(schema::BlockdevRef{"n" + std::to_string(i)});
  given.vote_threshold = threshold;
  return given;
}

std::string refusal(const schema::BlockdevOptionsQuorum& given) {
  const Result<QuorumOptions> plain = quorum_options(given);
  return plain ? "" : plain.error().message();
}

TEST(QuorumOptionsTest, ThresholdIsBetweenOneAndTheNumberOfChildren) {
  EXPECT_EQ(refusal(options(0, 1)), "Number of provided children must be 1 or more");
  EXPECT_EQ(refusal(options(kQuorumChildrenMax + 1, 1)), "Number of provided children must be 32 or less");
  EXPECT_EQ(refusal(options(2, 0)), "Parameter 'vote-threshold' expects a value >= 1");
  EXPECT_EQ(refusal(options(2, INT64_MIN)), "Parameter 'vote-threshold' expects a value >= 1");
  EXPECT_EQ(refusal(options(2, 3)), "threshold may not exceed children count");
  EXPECT_EQ(refusal(options(2, INT64_MAX)), "threshold may not exceed children count");
  EXPECT_EQ(refusal(options(kQuorumChildrenMax, kQuorumChildrenMax)), "");
}

TEST(QuorumOptionsTest, ComparisonNeedsTwoChildrenThatAgree) {
  schema::BlockdevOptionsQuorum given = options(3, 2);
  given.blkverify = true;
  EXPECT_EQ(refusal(given), "blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
  given = options(2, 2);
  given.blkverify = true;
  EXPECT_TRUE(quorum_options(given)->must_be_equal);
  given.rewrite_corrupted = true;
  EXPECT_EQ(refusal(given), "rewrite-corrupted=on cannot be used with blkverify=on");
}

TEST(QuorumOptionsTest, WithoutVotesTheyAreIgnored) {
  schema::BlockdevOptionsQuorum given = options(3, 2);
  given.read_pattern = schema::QuorumReadPattern::kFifo;
  given.blkverify = true;
  given.rewrite_corrupted = true;
  const Result<QuorumOptions> plain = quorum_options(given);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->reading, QuorumReading::kFirst);
  EXPECT_FALSE(plain->must_be_equal);
  EXPECT_FALSE(plain->rewrite_corrupted);
}

}  // namespace
}  // namespace blockexport::drivers
