// Codec of the transmission phase: decodes request headers, and encodes reply headers of fixed layout.
//
// Pure functions over spans that the caller owns, small enough to be inlined on the path of every request. They check
// nothing: request_check.h decides whether a request may run. Thread: any. Never allocates, never fails.
#pragma once

#include <cassert>
#include <span>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

// One decoded request. `offset` and `length` are bytes and not checked yet.
struct Request {
  std::uint16_t flags = 0;
  std::uint16_t command = 0;  // as received: may be no value of Command
  std::uint64_t cookie = 0;   // chosen by the client, repeated in each reply
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // of the payload if command_flag::kPayloadLength is set, otherwise of the range
  bool extended = false;
  bool magic_ok = true;

  bool is(Command wanted) const { return command == static_cast<std::uint16_t>(wanted); }
};

// Decodes a compact request header. Fills in the fields even if the magic is wrong.
inline Request decode_compact_request(std::span<const std::byte, kCompactRequestBytes> bytes) {
  ByteReader reader(bytes);
  Request request;
  request.magic_ok = reader.u32() == kRequestMagic;
  request.flags = reader.u16();
  request.command = reader.u16();
  request.cookie = reader.u64();
  request.offset = reader.u64();
  request.length = reader.u32();
  return request;
}

// Decodes an extended request header. Fills in the fields even if the magic is wrong.
inline Request decode_extended_request(std::span<const std::byte, kExtendedRequestBytes> bytes) {
  ByteReader reader(bytes);
  Request request;
  request.extended = true;
  request.magic_ok = reader.u32() == kExtendedRequestMagic;
  request.flags = reader.u16();
  request.command = reader.u16();
  request.cookie = reader.u64();
  request.offset = reader.u64();
  request.length = reader.u64();
  return request;
}

// Decodes the header in `mode` from the front of `bytes`, which hold at least request_header_bytes(mode).
inline Request decode_request(std::span<const std::byte> bytes, HeaderMode mode) {
  assert(bytes.size() >= request_header_bytes(mode));
  return mode == HeaderMode::kExtended ? decode_extended_request(bytes.first<kExtendedRequestBytes>())
                                       : decode_compact_request(bytes.first<kCompactRequestBytes>());
}

// A simple reply. The data of a successful READ follow it.
inline void encode_simple_reply(std::span<std::byte, kSimpleReplyBytes> out, NbdError error, std::uint64_t cookie) {
  ByteWriter writer(out);
  writer.u32(kSimpleReplyMagic);
  writer.u32(static_cast<std::uint32_t>(error));
  writer.u64(cookie);
}

struct Chunk {
  ChunkType type = ChunkType::kNone;
  bool done = true;                 // the last chunk of the reply
  std::uint32_t payload_bytes = 0;  // bytes behind the header, including the payload's fixed part
};

// The header of one chunk of the reply to `request`: structured or, for an extended request, extended.
inline void encode_chunk_header(ByteWriter& writer, const Request& request, const Chunk& chunk) {
  writer.u32(request.extended ? kExtendedReplyMagic : kStructuredReplyMagic);
  writer.u16(chunk.done ? chunk_flag::kDone : std::uint16_t{0});
  writer.u16(static_cast<std::uint16_t>(chunk.type));
  writer.u64(request.cookie);
  if (request.extended) {
    writer.u64(request.offset);
    writer.u64(chunk.payload_bytes);
  } else {
    writer.u32(chunk.payload_bytes);
  }
}

// Sizes of the fixed parts of chunk payloads, in bytes.
inline constexpr std::size_t kOffsetDataHeadBytes = 8;
inline constexpr std::size_t kOffsetHoleBytes = 12;
inline constexpr std::size_t kBlockStatusHeadBytes = 4;
inline constexpr std::size_t kBlockStatusExtendedHeadBytes = 8;
inline constexpr std::size_t kExtentBytes = 8;
inline constexpr std::size_t kExtendedExtentBytes = 16;
inline constexpr std::size_t kErrorHeadBytes = 6;

inline void encode_offset_data_head(ByteWriter& writer, std::uint64_t offset) {
  writer.u64(offset);
}

// `length` is greater than zero.
inline void encode_offset_hole(ByteWriter& writer, std::uint64_t offset, std::uint32_t length) {
  assert(length > 0);
  writer.u64(offset);
  writer.u32(length);
}

inline void encode_block_status_head(ByteWriter& writer, std::uint32_t context_id) {
  writer.u32(context_id);
}

inline void encode_block_status_extended_head(ByteWriter& writer, std::uint32_t context_id, std::uint32_t extents) {
  assert(extents > 0);
  writer.u32(context_id);
  writer.u32(extents);
}

// `text_bytes` of error text follow: at most kStringBytesMax.
inline void encode_error_head(ByteWriter& writer, NbdError error, std::uint16_t text_bytes) {
  assert(error != NbdError::kNone);
  writer.u32(static_cast<std::uint32_t>(error));
  writer.u16(text_bytes);
}

}  // namespace blockexport::nbd
