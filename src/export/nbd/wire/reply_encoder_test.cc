#include "export/nbd/wire/reply_encoder.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "base/byte_reader.h"

namespace blockexport::nbd {
namespace {

struct Header {
  std::uint32_t magic;
  bool done;
  ChunkType type;
  std::uint64_t cookie;
  std::uint64_t payload_bytes;
};

Header read_header(ByteReader& reader) {
  Header header{};
  header.magic = reader.u32();
  header.done = reader.u16() == chunk_flag::kDone;
  header.type = static_cast<ChunkType>(reader.u16());
  header.cookie = reader.u64();
  if (header.magic == kExtendedReplyMagic) {
    EXPECT_EQ(reader.u64(), 4096u);  // R184: the offset of the request
    header.payload_bytes = reader.u64();
  } else {
    header.payload_bytes = reader.u32();
  }
  return header;
}

Request make(HeaderMode mode, Command command, std::uint16_t flags = 0) {
  Request request;
  request.extended = mode == HeaderMode::kExtended;
  request.command = static_cast<std::uint16_t>(command);
  request.flags = flags;
  request.cookie = 0xc00c1e;
  request.offset = 4096;
  request.length = 1u << 20;
  return request;
}

class ReplyEncoder : public ::testing::Test {
 protected:
  std::array<std::byte, kErrorReplyBytesMax> buffer_{};
};

TEST_F(ReplyEncoder, R123_R124_simple_replies_are_sixteen_bytes) {
  const Request request = make(HeaderMode::kSimple, Command::kRead);
  for (const NbdError error : {NbdError::kNone, NbdError::kIo}) {
    const std::size_t size = error == NbdError::kNone
                                 ? encode_data_head(buffer_, HeaderMode::kSimple, request, 4096, 512, true)
                                 : encode_error(buffer_, HeaderMode::kSimple, request, error, "not sent");
    EXPECT_EQ(size, kSimpleReplyBytes);
    ByteReader reader(buffer_);
    EXPECT_EQ(reader.u32(), kSimpleReplyMagic);
    EXPECT_EQ(reader.u32(), static_cast<std::uint32_t>(error));
    EXPECT_EQ(reader.u64(), request.cookie);
  }
}

TEST_F(ReplyEncoder, R126_read_is_answered_in_chunks_and_write_shortly_once_structured) {
  EXPECT_EQ(encode_success(buffer_, HeaderMode::kStructured, make(HeaderMode::kStructured, Command::kWrite)), 16u);
  EXPECT_EQ(encode_success(buffer_, HeaderMode::kStructured, make(HeaderMode::kStructured, Command::kRead)), 20u);
  ByteReader reader(buffer_);
  const Header header = read_header(reader);
  EXPECT_EQ(header.magic, kStructuredReplyMagic);
  EXPECT_EQ(header.type, ChunkType::kNone);  // R135
  EXPECT_TRUE(header.done);
  EXPECT_EQ(header.payload_bytes, 0u);
}

TEST_F(ReplyEncoder, R183_extended_replies_only) {
  const Request request = make(HeaderMode::kExtended, Command::kFlush);
  EXPECT_EQ(encode_success(buffer_, HeaderMode::kExtended, request), kExtendedHeaderBytes);
  ByteReader reader(buffer_);
  EXPECT_EQ(read_header(reader).magic, kExtendedReplyMagic);
}

TEST_F(ReplyEncoder, R127_R143_errors_are_chunks_with_a_text_that_fits) {
  for (const HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    for (const std::size_t length : {std::size_t{0}, std::size_t{6}, std::size_t{5000}}) {
      const std::size_t size =
          encode_error(buffer_, mode, make(mode, Command::kWrite), NbdError::kNoSpace, std::string(length, 't'));
      ByteReader reader(std::span(buffer_).first(size));
      const Header header = read_header(reader);
      EXPECT_EQ(header.type, ChunkType::kError);
      EXPECT_TRUE(header.done);
      EXPECT_EQ(header.payload_bytes, reader.remaining());
      EXPECT_EQ(reader.u32(), 28u);
      const std::uint16_t text = reader.u16();
      EXPECT_EQ(text, std::min(length, kErrorTextBytesMax));
      EXPECT_EQ(text, reader.remaining());
    }
  }
}

TEST_F(ReplyEncoder, R136_R137_content_chunks_have_their_heads) {
  for (const HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    const Request request = make(mode, Command::kRead);
    std::size_t size = encode_data_head(buffer_, mode, request, 8192, 512, false);
    EXPECT_EQ(size, reply_header_bytes(mode) + 8);
    ByteReader data(std::span(buffer_).first(size));
    Header header = read_header(data);
    EXPECT_EQ(header.type, ChunkType::kOffsetData);
    EXPECT_FALSE(header.done);
    EXPECT_EQ(header.payload_bytes, 8u + 512u);
    EXPECT_EQ(data.u64(), 8192u);

    size = encode_hole(buffer_, mode, request, 8704, 65536, true);
    EXPECT_LE(size, kReplyHeadBytesMax);
    ByteReader hole(std::span(buffer_).first(size));
    header = read_header(hole);
    EXPECT_EQ(header.type, ChunkType::kOffsetHole);
    EXPECT_TRUE(header.done);
    EXPECT_EQ(header.payload_bytes, 12u);
    EXPECT_EQ(hole.u64(), 8704u);
    EXPECT_EQ(hole.u32(), 65536u);
  }
}

struct StatusChunk {
  Header header;
  std::uint32_t id;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
};

StatusChunk encode(const BlockStatus& status, std::uint32_t id, bool done) {
  std::vector<std::byte> bytes(status.encoded_bytes());
  EXPECT_EQ(status.encode(bytes, id, done), bytes.size());
  ByteReader reader(bytes);
  StatusChunk chunk{.header = read_header(reader), .id = 0, .extents = {}};
  EXPECT_EQ(chunk.header.payload_bytes, reader.remaining());
  chunk.id = reader.u32();
  const bool extended = chunk.header.type == ChunkType::kBlockStatusExtended;
  const std::size_t announced = extended ? reader.u32() : 0;
  while (reader.remaining() > 0) {
    const std::uint64_t length = extended ? reader.u64() : reader.u32();
    chunk.extents.emplace_back(length, extended ? reader.u64() : reader.u32());
  }
  EXPECT_FALSE(reader.failed());
  if (extended) EXPECT_EQ(announced, chunk.extents.size());  // R190
  return chunk;
}

using Extents = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

TEST(BlockStatusReply, R173_R174_R179_neighbours_are_merged_and_the_end_is_clipped) {
  for (const HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    BlockStatus status(make(mode, Command::kBlockStatus), 10000);
    EXPECT_TRUE(status.add(1000, 0));
    EXPECT_TRUE(status.add(0, 7));
    EXPECT_TRUE(status.add(1000, 0));
    EXPECT_TRUE(status.add(4096, 3));
    EXPECT_FALSE(status.add(1u << 30, 0));
    EXPECT_FALSE(status.add(512, 3));
    EXPECT_EQ(status.covered_bytes(), 10000u);
    const StatusChunk chunk = encode(status, 5, true);
    EXPECT_EQ(chunk.header.type,
              mode == HeaderMode::kExtended ? ChunkType::kBlockStatusExtended : ChunkType::kBlockStatus);  // R189
    EXPECT_EQ(chunk.id, 5u);
    EXPECT_TRUE(chunk.header.done);
    EXPECT_EQ(chunk.extents, (Extents{{2000, 0}, {4096, 3}, {3904, 0}}));
  }
}

TEST(BlockStatusReply, R175_one_extent_is_one_extent) {
  const Request request = make(HeaderMode::kStructured, Command::kBlockStatus, command_flag::kOneExtent);
  BlockStatus status(request, 10000);
  EXPECT_TRUE(status.add(500, 1));
  EXPECT_TRUE(status.add(500, 1));
  EXPECT_FALSE(status.add(500, 0));
  EXPECT_EQ(encode(status, 0, false).extents, (Extents{{1000, 1}}));
}

TEST(BlockStatusReply, R176_a_long_answer_is_cut_short) {
  BlockStatus status(make(HeaderMode::kExtended, Command::kBlockStatus), 1ull << 40);
  std::size_t taken = 0;
  while (status.add(512, taken & 1)) ++taken;
  EXPECT_EQ(taken, kExtentsMax);
  EXPECT_EQ(status.extent_count(), kExtentsMax);
  Extents told = encode(status, 0, true).extents;
  ASSERT_EQ(told.size(), kExtentsMax);
  for (std::size_t i = 0; i < kExtentsMax; ++i) ASSERT_EQ(told[i], (Extents::value_type{512, i & 1})) << i;
}

TEST(BlockStatusReply, R120_a_chunk_stays_within_the_payload_maximum) {
  EXPECT_EQ(extents_max_within(HeaderMode::kExtended, kPayloadBytesMax), kExtentsMax);
  for (const HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    BlockStatus status(make(mode, Command::kBlockStatus), 1u << 20, extents_max_within(mode, 512));
    for (std::uint32_t index = 0; status.add(1, index & 1); ++index) continue;
    EXPECT_LE(encode(status, 0, true).header.payload_bytes, 512u);
    EXPECT_GT(status.extent_count(), 30u);
  }
}

TEST(BlockStatusReply, HugeExtentsAreClippedToTheRequest) {
  for (const std::uint64_t length : {0xffffffffull, 0xfffffe00ull}) {
    for (const std::uint16_t flags : {std::uint16_t{0}, command_flag::kOneExtent}) {
      BlockStatus status(make(HeaderMode::kStructured, Command::kBlockStatus, flags), length);
      EXPECT_FALSE(status.add(1ull << 63, 3));
      EXPECT_EQ(encode(status, 0, true).extents, (Extents{{length, 3}}));
    }
  }
  BlockStatus status(make(HeaderMode::kExtended, Command::kBlockStatus), (1ull << 63) - 512);
  EXPECT_TRUE(status.add(1ull << 62, 3));
  EXPECT_FALSE(status.add(UINT64_MAX, 3));
  EXPECT_EQ(encode(status, 0, true).extents, (Extents{{(1ull << 63) - 512, 3}}));
}

}  // namespace
}  // namespace blockexport::nbd
