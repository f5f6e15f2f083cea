#include "export/nbd/transmission/read_plan.h"

#include <gtest/gtest.h>

#include "export/nbd/testing/client.h"

namespace blockexport::nbd::testing {
namespace {

constexpr std::uint64_t kOffset = 1 << 20;
constexpr std::uint64_t kLength = 100'000;

Request read_request(HeaderMode mode, std::uint16_t flags = 0) {
  Request request;
  request.command = static_cast<std::uint16_t>(Command::kRead);
  request.flags = flags;
  request.cookie = 7;
  request.offset = kOffset;
  request.length = kLength;
  request.extended = mode == HeaderMode::kExtended;
  return request;
}

// A client's view of the plan's reply, with data of 'd'.
Answer answer_of(HeaderMode mode, const ReadPlan& plan) {
  ClientCodec codec(mode);
  (void)codec.request(Command::kRead, 7, kOffset, kLength);
  Bytes reply(plan.head().begin(), plan.head().end());
  reply.insert(reply.end(), plan.data.length, std::byte{'d'});
  auto answer = codec.take(reply);
  EXPECT_TRUE(answer && reply.empty());
  return answer.value_or(Answer());
}

block::Extent hole(std::uint64_t length) {
  return {.length = length, .data = false, .zero = true};
}
block::Extent data(std::uint64_t length) {
  return {.length = length, .data = true};
}

// The range that the plan sends as data, for these extents.
block::Range data_of(HeaderMode mode, std::vector<block::Extent> extents, std::uint16_t flags = 0) {
  ReadPlan plan = plan_read(mode, read_request(mode, flags), extents);
  Answer answer = answer_of(mode, plan);
  EXPECT_FALSE(answer.malformed);
  EXPECT_EQ(answer.data.size(), kLength);
  EXPECT_EQ(answer.hole_bytes, kLength - plan.data.length);
  return {plan.data.offset - kOffset, plan.data.length};
}

constexpr HeaderMode kChunkedModes[] = {HeaderMode::kStructured, HeaderMode::kExtended};

TEST(ReadPlan, WithoutExtentsEverythingIsData) {
  for (HeaderMode mode : kAllModes) EXPECT_EQ(data_of(mode, {}), (block::Range{0, kLength}));
}

TEST(ReadPlan, AHoleIsOneChunkAndNoData) {
  for (HeaderMode mode : kChunkedModes) {
    EXPECT_EQ(data_of(mode, {hole(kLength)}).length, 0u);
    EXPECT_EQ(data_of(mode, {hole(5), hole(2 * kLength)}).length, 0u);
    EXPECT_EQ(data_of(mode, {hole(kLength)}, command_flag::kDontFragment).length, 0u);
  }
}

TEST(ReadPlan, HolesAtTheEndsGetChunksAndThoseBetweenAreSentAsData) {
  for (HeaderMode mode : kChunkedModes) {
    EXPECT_EQ(data_of(mode, {hole(1000), data(kLength)}), (block::Range{1000, kLength - 1000}));
    EXPECT_EQ(data_of(mode, {data(1000), hole(kLength)}), (block::Range{0, 1000}));
    EXPECT_EQ(data_of(mode, {hole(10), data(10), hole(10), data(20), hole(kLength)}), (block::Range{10, 40}));
    EXPECT_EQ(data_of(mode, {data(10), hole(10), data(kLength)}), (block::Range{0, kLength}));
  }
}

TEST(ReadPlan, UnknownBytesAreData) {
  for (HeaderMode mode : kChunkedModes) {
    EXPECT_EQ(data_of(mode, {hole(1000)}), (block::Range{1000, kLength - 1000}));
    EXPECT_EQ(data_of(mode, {data(10), hole(1000)}), (block::Range{0, kLength}));
  }
}

TEST(ReadPlan, AReplyInOnePieceHasOneChunk) {
  for (HeaderMode mode : kChunkedModes) {
    EXPECT_EQ(data_of(mode, {hole(1000), data(kLength)}, command_flag::kDontFragment), (block::Range{0, kLength}));
  }
}

TEST(ReadPlan, SimpleRepliesHaveNoHoles) {
  EXPECT_EQ(data_of(HeaderMode::kSimple, {hole(kLength)}), (block::Range{0, kLength}));
}

}  // namespace
}  // namespace blockexport::nbd::testing
