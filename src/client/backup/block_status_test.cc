#include "client/backup/block_status.h"

#include <gtest/gtest.h>

namespace blockexport::backup {
namespace {

ContextStatus status_of(std::uint64_t length, std::initializer_list<StatusEntry> entries) {
  ContextStatus status;
  status.expect(length);
  for (const StatusEntry& entry : entries) status.add(entry);
  status.end_answer();
  return status;
}

TEST(ContextStatusTest, EntriesBehindTheRangeAreCut) {
  const ContextStatus status = status_of(100, {{.length = 40, .flags = 1}, {.length = UINT64_MAX, .flags = 0}});
  EXPECT_EQ(status.covered(), 100u);
  EXPECT_EQ(status.entries()[1].length, 60u);
}

TEST(ContextStatusTest, EqualNeighboursAreOneEntry) {
  const ContextStatus status = status_of(100, {{.length = 40, .flags = 1}, {.length = 20, .flags = 1}});
  ASSERT_EQ(status.entries().size(), 1u);
  EXPECT_EQ(status.covered(), 60u);
}

TEST(ContextStatusTest, ASecondAnswerIsIgnored) {
  ContextStatus status = status_of(100, {{.length = 40, .flags = 1}});
  status.add({.length = 60, .flags = 0});
  EXPECT_EQ(status.covered(), 40u);
}

TEST(ContextStatusTest, MoreEntriesThanTheLimitAreLeftForAnotherQuery) {
  ContextStatus status;
  status.expect(UINT64_MAX);
  for (std::uint64_t i = 0; i < kStatusEntriesMax + 10; ++i) status.add({.length = 1, .flags = i % 2});
  EXPECT_EQ(status.entries().size(), kStatusEntriesMax);
  EXPECT_EQ(status.covered(), kStatusEntriesMax);
}

TEST(ContextStatusTest, EmptyAnswersAndExtentsAreErrors) {
  EXPECT_NE(status_of(100, {}).check("c").error().message().find("no extent"), std::string::npos);
  const auto status = status_of(100, {{.length = 10, .flags = 0}, {.length = 0, .flags = 1}});
  EXPECT_NE(status.check("c").error().message().find("an empty extent"), std::string::npos);
  EXPECT_TRUE(status_of(100, {{.length = 1, .flags = 0}}).check("c"));
}

TEST(SegmentsTest, AllocationDecidesWithinChanges) {
  const auto changes = status_of(100, {{.length = 30, .flags = 0}, {.length = 70, .flags = kDirtyFlag}});
  const auto allocation = status_of(100, {{.length = 50, .flags = 0}, {.length = 50, .flags = kHoleFlag | kZeroFlag}});
  std::vector<Segment> segments;
  EXPECT_EQ(append_segments({.offset = 1000, .length = 100, .changes = &changes, .allocation = &allocation}, segments),
            100u);
  const std::vector<Segment> expected{{.offset = 1000, .length = 30, .kind = SegmentKind::kUnchanged},
                                      {.offset = 1030, .length = 20, .kind = SegmentKind::kData},
                                      {.offset = 1050, .length = 50, .kind = SegmentKind::kZero}};
  EXPECT_EQ(segments, expected);
}

TEST(SegmentsTest, AHoleThatDoesNotReadAsZeroesIsData) {
  const auto allocation = status_of(10, {{.length = 10, .flags = kHoleFlag}});
  std::vector<Segment> segments;
  append_segments({.offset = 0, .length = 10, .allocation = &allocation}, segments);
  EXPECT_EQ(segments, (std::vector<Segment>{{.offset = 0, .length = 10, .kind = SegmentKind::kData}}));
}

TEST(SegmentsTest, TheShorterAnswerEndsTheRange) {
  const auto changes = status_of(100, {{.length = 80, .flags = kDirtyFlag}});
  const auto allocation = status_of(100, {{.length = 10, .flags = 0}});
  std::vector<Segment> segments;
  EXPECT_EQ(append_segments({.offset = 0, .length = 100, .changes = &changes, .allocation = &allocation}, segments),
            10u);
}

TEST(SegmentsTest, WhatHasGrownIsChanged) {
  const auto changes = status_of(100, {{.length = 100, .flags = 0}});
  std::vector<Segment> segments;
  append_segments({.offset = 0, .length = 100, .changes = &changes, .changed_from = 60}, segments);
  const std::vector<Segment> expected{{.offset = 0, .length = 60, .kind = SegmentKind::kUnchanged},
                                      {.offset = 60, .length = 40, .kind = SegmentKind::kData}};
  EXPECT_EQ(segments, expected);
}

TEST(SegmentsTest, AnswersContinueTheLastSegment) {
  std::vector<Segment> segments;
  append_segments({.offset = 0, .length = 10}, segments);
  append_segments({.offset = 10, .length = 5}, segments);
  EXPECT_EQ(segments, (std::vector<Segment>{{.offset = 0, .length = 15, .kind = SegmentKind::kData}}));
}

TEST(ExtentJoinerTest, NeighboursWithEqualFlagsAreJoined) {
  ExtentJoiner joiner;
  EXPECT_FALSE(joiner.add({.offset = 0, .length = 10, .flags = 1}));
  EXPECT_FALSE(joiner.add({.offset = 10, .length = 5, .flags = 1}));
  EXPECT_EQ(joiner.add({.offset = 15, .length = 5, .flags = 0}), (MapExtent{.offset = 0, .length = 15, .flags = 1}));
  EXPECT_EQ(joiner.finish(), (MapExtent{.offset = 15, .length = 5, .flags = 0}));
  EXPECT_FALSE(joiner.finish());
}

TEST(DescribeFlagsTest, KnownContextsHaveWords) {
  EXPECT_EQ(describe_flags("base:allocation", 3), "hole,zero");
  EXPECT_EQ(describe_flags("qemu:dirty-bitmap:b0", 1), "dirty");
  EXPECT_EQ(describe_flags("qemu:allocation-depth", 2), "backing depth 2");
  EXPECT_EQ(describe_flags("x-private:context", 1), "");
}

}  // namespace
}  // namespace blockexport::backup
