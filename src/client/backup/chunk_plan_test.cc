#include "client/backup/chunk_plan.h"

#include <gtest/gtest.h>

namespace blockexport::backup {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

std::vector<Chunk> all_of(ChunkPlan& plan) {
  std::vector<Chunk> chunks;
  while (auto chunk = plan.next()) chunks.push_back(*chunk);
  return chunks;
}

Segment segment(std::uint64_t offset, std::uint64_t length, SegmentKind kind) {
  return {.offset = offset, .length = length, .kind = kind};
}

TEST(ChunkPlanTest, DataIsCutAtMultiplesOfTheChunkSize) {
  ChunkPlan plan(kMib);
  const Segment data = segment(kMib / 2, 2 * kMib, SegmentKind::kData);
  plan.add(std::span(&data, 1));
  plan.finish();
  const std::vector<Chunk> expected{{.offset = kMib / 2, .length = kMib / 2},
                                    {.offset = kMib, .length = kMib},
                                    {.offset = 2 * kMib, .length = kMib / 2}};
  EXPECT_EQ(all_of(plan), expected);
}

TEST(ChunkPlanTest, ZeroesAreOneChunkAndUnchangedBytesAreNone) {
  ChunkPlan plan(kMib);
  const std::vector<Segment> segments{segment(0, 5 * kMib, SegmentKind::kZero),
                                      segment(5 * kMib, kMib, SegmentKind::kUnchanged),
                                      segment(6 * kMib, 512, SegmentKind::kData)};
  plan.add(segments);
  plan.finish();
  const std::vector<Chunk> expected{{.offset = 0, .length = 5 * kMib, .kind = ChunkKind::kZero},
                                    {.offset = 6 * kMib, .length = 512, .kind = ChunkKind::kData}};
  EXPECT_EQ(all_of(plan), expected);
}

TEST(ChunkPlanTest, TheChunksDoNotDependOnTheAnswersOfTheServer) {
  ChunkPlan whole(kMib);
  const Segment data = segment(0, 3 * kMib + 7, SegmentKind::kData);
  whole.add(std::span(&data, 1));
  whole.finish();
  ChunkPlan pieces(kMib);
  std::vector<Chunk> chunks;
  for (std::uint64_t offset = 0; offset < data.length; offset += 1000) {
    const Segment piece = segment(offset, std::min<std::uint64_t>(1000, data.length - offset), SegmentKind::kData);
    pieces.add(std::span(&piece, 1));
    while (auto chunk = pieces.next()) chunks.push_back(*chunk);
  }
  pieces.finish();
  while (auto chunk = pieces.next()) chunks.push_back(*chunk);
  EXPECT_EQ(chunks, all_of(whole));
}

TEST(ChunkPlanTest, AnOpenRunWaitsForItsEnd) {
  ChunkPlan plan(kMib);
  const Segment zero = segment(0, 10, SegmentKind::kZero);
  plan.add(std::span(&zero, 1));
  EXPECT_FALSE(plan.next());
  plan.finish();
  EXPECT_TRUE(plan.next());
  EXPECT_FALSE(plan.next());
}

}  // namespace
}  // namespace blockexport::backup
