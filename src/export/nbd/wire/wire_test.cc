#include "export/nbd/wire/wire.h"

#include <gtest/gtest.h>

#include <array>

#include "export/nbd/wire/wire_codec.h"

namespace blockexport::nbd {
namespace {

TEST(Wire, R4_compact_request_is_big_endian) {
  std::array<std::byte, kCompactRequestBytes> bytes{};
  ByteWriter writer(bytes);
  writer.u32(kRequestMagic);
  writer.u16(command_flag::kFua);
  writer.u16(1);
  writer.u64(0x0102030405060708);
  writer.u64(0x1000);
  writer.u32(0xffffffff);
  const Request request = decode_request(bytes, HeaderMode::kStructured);
  EXPECT_TRUE(request.magic_ok);
  EXPECT_FALSE(request.extended);
  EXPECT_EQ(request.flags, command_flag::kFua);
  EXPECT_TRUE(request.is(Command::kWrite));
  EXPECT_EQ(request.cookie, 0x0102030405060708u);
  EXPECT_EQ(request.offset, 0x1000u);
  EXPECT_EQ(request.length, 0xffffffffu);
}

TEST(Wire, R185_extended_request_has_a_64_bit_length) {
  std::array<std::byte, kExtendedRequestBytes> bytes{};
  ByteWriter writer(bytes);
  writer.u32(kExtendedRequestMagic);
  writer.u16(0);
  writer.u16(6);
  writer.u64(7);
  writer.u64(8);
  writer.u64(0x123456789abcdef0);
  const Request request = decode_request(bytes, HeaderMode::kExtended);
  EXPECT_TRUE(request.magic_ok && request.extended);
  EXPECT_EQ(request.length, 0x123456789abcdef0u);
}

TEST(Wire, WrongMagicStillGivesTheCookie) {
  std::array<std::byte, kCompactRequestBytes> bytes{};
  ByteWriter writer(bytes);
  writer.u32(kExtendedRequestMagic);
  writer.u32(0);
  writer.u64(42);
  const Request request = decode_request(bytes, HeaderMode::kSimple);
  EXPECT_FALSE(request.magic_ok);
  EXPECT_EQ(request.cookie, 42u);
}

TEST(Wire, HeaderSizesFollowTheMode) {
  EXPECT_EQ(request_header_bytes(HeaderMode::kSimple), 28u);
  EXPECT_EQ(request_header_bytes(HeaderMode::kStructured), 28u);
  EXPECT_EQ(request_header_bytes(HeaderMode::kExtended), 32u);
  EXPECT_EQ(reply_header_bytes(HeaderMode::kSimple), 16u);
  EXPECT_EQ(reply_header_bytes(HeaderMode::kStructured), 20u);
  EXPECT_EQ(reply_header_bytes(HeaderMode::kExtended), 32u);
}

TEST(Wire, R184_extended_chunk_repeats_cookie_and_offset) {
  std::array<std::byte, kExtendedHeaderBytes> bytes{};
  ByteWriter writer(bytes);
  const Request request{.cookie = 5, .offset = 6, .extended = true};
  encode_chunk_header(writer, request, {.type = ChunkType::kOffsetHole, .done = false, .payload_bytes = 12});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u32(), kExtendedReplyMagic);
  EXPECT_EQ(reader.u16(), 0u);
  EXPECT_EQ(reader.u16(), 2u);
  EXPECT_EQ(reader.u64(), 5u);
  EXPECT_EQ(reader.u64(), 6u);
  EXPECT_EQ(reader.u64(), 12u);
}

TEST(Wire, R147_every_errno_maps_into_the_defined_set) {
  for (int number = 1; number < 200; ++number) {
    switch (nbd_error(Errno(number))) {
      case NbdError::kNotPermitted:
        EXPECT_TRUE(number == EPERM || number == EROFS);
        break;
      case NbdError::kIo:
        EXPECT_EQ(number, EIO);
        break;
      case NbdError::kNoMemory:
        EXPECT_EQ(number, ENOMEM);
        break;
      case NbdError::kNoSpace:
        EXPECT_TRUE(number == ENOSPC || number == EDQUOT || number == EFBIG);
        break;
      case NbdError::kOverflow:
        EXPECT_EQ(number, EOVERFLOW);
        break;
      case NbdError::kNotSupported:
        EXPECT_EQ(number, ENOTSUP);
        break;
      case NbdError::kShutdown:
        EXPECT_EQ(number, ESHUTDOWN);
        break;
      case NbdError::kInvalid:
        EXPECT_TRUE(number != EIO && number != ENOSPC && number != EPERM) << number;
        break;
      default:
        FAIL() << number;
    }
  }
}

}  // namespace
}  // namespace blockexport::nbd
