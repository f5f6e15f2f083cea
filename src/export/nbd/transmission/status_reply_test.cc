// Replies to BLOCK_STATUS: contexts of bitmaps beside those of extents, in pieces whose work is bounded.
#include "export/nbd/transmission/status_reply.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/byte_reader.h"
#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "export/engine/request_engine.h"
#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kTebibyte = std::uint64_t{1} << 40;

struct Extent {
  std::uint64_t length;
  std::uint64_t status;
  friend bool operator==(Extent, Extent) = default;
};

// Bitmaps of any size at a node of a few bytes, which nobody asks for its size.
class StatusReplyTest : public testing::Test {
 protected:
  ~StatusReplyTest() override {
    for (block::HeldBitmap& one : held_) one.end().reset();
  }
  block::DirtyBits& add_bitmap(std::uint64_t size_bytes, std::uint32_t granularity_bytes) {
    auto made = block::DirtyBitmap::create("b", size_bytes, granularity_bytes);
    bitmaps_.push_back(std::move(*made));
    held_.emplace_back(std::make_unique<block::Edge>(node_, block::EdgeParent{.name = "root"}, block::Permissions{}),
                       *bitmaps_.back());
    return bitmaps_.back()->bits();
  }
  static Request request(std::uint16_t flags = 0) {
    return {.flags = flags, .command = static_cast<std::uint16_t>(Command::kBlockStatus), .extended = true};
  }
  StatusReply reply_for(block::Range range, std::vector<std::uint32_t> ids, std::size_t extents_max = kExtentsMax) {
    return StatusReply(request(), range, ids, extents_max, held_);
  }
  // Reads all bitmaps; the number of pieces.
  static std::size_t read_all(StatusReply& reply) {
    std::size_t pieces = 0;
    while (reply.next_gate() != nullptr) {
      // A piece ends after the run that reaches the limit.
      EXPECT_LE(reply.read_bitmap(), 2 * exports::kBitmapWordsPerTurnMax);
      ++pieces;
    }
    return pieces;
  }
  // The extents of each context.
  static std::vector<std::vector<Extent>> decode(const StatusReply& reply) {
    std::vector<std::byte> bytes(reply.encoded_bytes());
    EXPECT_EQ(reply.encode(bytes), bytes.size());
    ByteReader reader(bytes);
    std::vector<std::vector<Extent>> contexts;
    while (reader.remaining() > 0) {
      reader.bytes(kExtendedHeaderBytes + 4);
      const std::uint32_t count = reader.u32();
      std::vector<Extent>& extents = contexts.emplace_back();
      for (std::uint32_t index = 0; index < count; ++index) {
        const std::uint64_t length = reader.u64();
        extents.push_back({length, reader.u64()});
      }
    }
    return contexts;
  }

  block::MemoryDriverState state_{4096};
  block::Node node_{"disk", std::make_unique<block::MemoryDriver>(state_), {}};
  std::vector<std::unique_ptr<block::DirtyBitmap>> bitmaps_;
  std::vector<block::HeldBitmap> held_;
};

TEST_F(StatusReplyTest, AsksTheNodeNothingForBitmapsAlone) {
  add_bitmap(1 << 20, 4096).mark({5000, 10000});
  StatusReply reply = reply_for({0, 1 << 20}, {2});
  EXPECT_TRUE(reply.rest().empty());
  EXPECT_EQ(reply.next_gate(), &held_[0].edge());
  EXPECT_EQ(read_all(reply), 1u);
  EXPECT_EQ(decode(reply), (std::vector<std::vector<Extent>>{{{4096, 0}, {12288, 1}, {(1 << 20) - 16384, 0}}}));
}

TEST_F(StatusReplyTest, HasAContextForEachBitmapBehindThoseOfTheNode) {
  add_bitmap(1 << 20, 65536).mark({0, 1});
  add_bitmap(1 << 20, 512).mark({0, 1});
  StatusReply reply = reply_for({0, 4096}, {0, 1, 2, 3});
  EXPECT_EQ(reply.rest(), (block::Range{0, 4096}));
  reply.add({{.length = 4096, .data = true, .zero = false, .depth = 1}});
  EXPECT_TRUE(reply.rest().empty());
  EXPECT_EQ(read_all(reply), 2u);
  EXPECT_EQ(decode(reply),
            (std::vector<std::vector<Extent>>{{{4096, 0}}, {{4096, 1}}, {{4096, 1}}, {{512, 1}, {3584, 0}}}));
}

TEST_F(StatusReplyTest, CutsTheAnswerToTheExtentsThatItMayHave) {
  block::DirtyBits& bits = add_bitmap(1 << 20, 512);
  for (std::uint64_t offset = 0; offset < (1 << 20); offset += 1024) bits.mark({offset, 1});
  StatusReply reply = reply_for({512, (1 << 20) - 512}, {2}, 3);
  read_all(reply);
  EXPECT_EQ(decode(reply), (std::vector<std::vector<Extent>>{{{512, 0}, {512, 1}, {512, 0}}}));
  const std::uint32_t ids[] = {2};
  StatusReply one(request(command_flag::kOneExtent), {100, 2000}, ids, kExtentsMax, held_);
  read_all(one);
  EXPECT_EQ(decode(one), (std::vector<std::vector<Extent>>{{{412, 1}}}));
}

TEST_F(StatusReplyTest, BytesPastTheBitsAreDirty) {
  add_bitmap(4096, 512);
  StatusReply reply = reply_for({0, 8 * kTebibyte}, {2});
  EXPECT_EQ(read_all(reply), 1u);
  EXPECT_EQ(decode(reply), (std::vector<std::vector<Extent>>{{{4096, 0}, {8 * kTebibyte - 4096, 1}}}));
}

TEST_F(StatusReplyTest, ACleanHugeDiskIsOnePiece) {
  add_bitmap(16 * kTebibyte, 512);
  StatusReply reply = reply_for({0, 16 * kTebibyte}, {2});
  EXPECT_EQ(read_all(reply), 1u);
  EXPECT_EQ(decode(reply), (std::vector<std::vector<Extent>>{{{16 * kTebibyte, 0}}}));
}

TEST_F(StatusReplyTest, ADirtyHugeDiskIsReadInBoundedPieces) {
  constexpr std::uint64_t kBytes = 16 * kTebibyte;
  constexpr std::uint64_t kWords = kBytes / 65536 / 64;
  add_bitmap(kBytes, 65536).mark({0, kBytes});
  StatusReply reply = reply_for({0, kBytes}, {2});
  const std::size_t pieces = read_all(reply);
  EXPECT_GE(pieces, kWords / (2 * exports::kBitmapWordsPerTurnMax));
  EXPECT_LE(pieces, kWords / exports::kBitmapWordsPerTurnMax + 1);
  EXPECT_EQ(decode(reply), (std::vector<std::vector<Extent>>{{{kBytes, 1}}}));
}

// The whole map of 16 TiB of which every hundredth granule is dirty, in a number of loads that takes far less than a
// second.
TEST_F(StatusReplyTest, TheMapOfAHugeDiskTakesAFewWordsForEachRun) {
  constexpr std::uint64_t kBytes = 16 * kTebibyte;
  constexpr std::uint64_t kStep = 100 * 65536;
  block::DirtyBits& bits = add_bitmap(kBytes, 65536);
  std::uint64_t runs = 0;
  for (std::uint64_t offset = 0; offset < kBytes; offset += kStep, ++runs) bits.mark({offset, 1});
  std::uint64_t words = 0;
  std::uint64_t dirty_extents = 0;
  for (std::uint64_t offset = 0; offset < kBytes;) {
    StatusReply reply = reply_for({offset, kBytes - offset}, {2});
    while (reply.next_gate() != nullptr) words += reply.read_bitmap();
    const std::vector<Extent> extents = decode(reply).front();
    ASSERT_LE(extents.size(), kExtentsMax);
    for (const Extent& extent : extents) {
      offset += extent.length;
      dirty_extents += extent.status;
    }
  }
  EXPECT_EQ(dirty_extents, runs);
  EXPECT_LE(words, 12 * runs);
}

}  // namespace
}  // namespace blockexport::nbd
