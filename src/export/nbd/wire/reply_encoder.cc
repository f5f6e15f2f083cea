#include "export/nbd/wire/reply_encoder.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "base/byte_writer.h"

namespace blockexport::nbd {
namespace {

// Extents that a reply allocates memory for before it turns out to be longer.
constexpr std::size_t kShortAnswerExtents = 64;

std::size_t simple_reply(std::span<std::byte> out, const Request& request, NbdError error) {
  encode_simple_reply(out.first<kSimpleReplyBytes>(), error, request.cookie);
  return kSimpleReplyBytes;
}

}  // namespace

std::size_t encode_success(std::span<std::byte> out, HeaderMode mode, const Request& request) {
  assert(request.extended == (mode == HeaderMode::kExtended));
  // With structured replies, only commands that may return a payload need a structured one; the simple reply is
  // shorter.
  const bool chunked = mode == HeaderMode::kExtended || (mode == HeaderMode::kStructured && request.is(Command::kRead));
  if (!chunked) return simple_reply(out, request, NbdError::kNone);
  ByteWriter writer(out);
  encode_chunk_header(writer, request, Chunk{});
  return writer.written().size();
}

std::size_t encode_error(std::span<std::byte> out, HeaderMode mode, const Request& request, NbdError error,
                         std::string_view text) {
  assert(request.extended == (mode == HeaderMode::kExtended));
  if (mode == HeaderMode::kSimple) return simple_reply(out, request, error);
  const auto cut = static_cast<std::uint16_t>(std::min(text.size(), kErrorTextBytesMax));
  const auto payload_bytes = static_cast<std::uint32_t>(kErrorHeadBytes + cut);
  ByteWriter writer(out);
  encode_chunk_header(writer, request, {.type = ChunkType::kError, .payload_bytes = payload_bytes});
  encode_error_head(writer, error, cut);
  writer.text(text.substr(0, cut));
  return writer.written().size();
}

std::size_t encode_data_head(std::span<std::byte> out, HeaderMode mode, const Request& request, std::uint64_t offset,
                             std::uint32_t length, bool done) {
  assert(request.extended == (mode == HeaderMode::kExtended) && length > 0);
  if (mode == HeaderMode::kSimple) return simple_reply(out, request, NbdError::kNone);
  const auto payload_bytes = static_cast<std::uint32_t>(kOffsetDataHeadBytes + length);
  ByteWriter writer(out);
  encode_chunk_header(writer, request, {.type = ChunkType::kOffsetData, .done = done, .payload_bytes = payload_bytes});
  encode_offset_data_head(writer, offset);
  return writer.written().size();
}

std::size_t encode_hole(std::span<std::byte> out, [[maybe_unused]] HeaderMode mode, const Request& request,
                        std::uint64_t offset, std::uint32_t length, bool done) {
  assert(mode != HeaderMode::kSimple && request.extended == (mode == HeaderMode::kExtended));
  ByteWriter writer(out);
  encode_chunk_header(writer, request,
                      {.type = ChunkType::kOffsetHole, .done = done, .payload_bytes = kOffsetHoleBytes});
  encode_offset_hole(writer, offset, length);
  return writer.written().size();
}

std::size_t extents_max_within(HeaderMode mode, std::uint32_t chunk_bytes_max) {
  assert(chunk_bytes_max >= 512);
  const bool extended = mode == HeaderMode::kExtended;
  const std::size_t head_bytes = extended ? kBlockStatusExtendedHeadBytes : kBlockStatusHeadBytes;
  const std::size_t extent_bytes = extended ? kExtendedExtentBytes : kExtentBytes;
  return std::min(kExtentsMax, (chunk_bytes_max - head_bytes) / extent_bytes);
}

BlockStatus::BlockStatus(const Request& request, std::uint64_t length, std::size_t extents_max)
    : request_(request), length_(length), extents_max_(extents_max) {
  assert(length > 0 && extents_max > 0 && extents_max <= kExtentsMax);
  assert(request.extended || length <= UINT32_MAX);
  if ((request.flags & command_flag::kOneExtent) != 0) extents_max_ = 1;
}

bool BlockStatus::add(std::uint64_t length, std::uint32_t status) {
  if (full_ || length == 0) return !full_;
  const std::uint64_t taken = std::min(length, length_ - covered_);
  if (open_.length > 0 && open_.status == status) {
    open_.length += taken;
  } else if (extent_count() == extents_max_) {
    full_ = true;
    return false;
  } else {
    if (open_.length > 0) close_open();
    open_ = {.length = taken, .status = status};
  }
  covered_ += taken;
  full_ = covered_ == length_;
  return !full_;
}

void BlockStatus::put_open(std::byte* out) const {
  ByteWriter writer({out, extent_bytes()});
  if (request_.extended) {
    writer.u64(open_.length);
    writer.u64(open_.status);
  } else {
    writer.u32(static_cast<std::uint32_t>(open_.length));
    writer.u32(open_.status);
  }
}

void BlockStatus::close_open() {
  if (closed_ == capacity_) allocate_more();
  put_open(wire_.get() + closed_ * extent_bytes());
  ++closed_;
}

// A long reply allocates its maximum; only the pages that are written take memory.
void BlockStatus::allocate_more() {
  capacity_ = std::min(capacity_ == 0 ? kShortAnswerExtents : extents_max_, extents_max_);
  auto larger = std::make_unique_for_overwrite<std::byte[]>(capacity_ * extent_bytes());
  if (closed_ > 0) std::memcpy(larger.get(), wire_.get(), closed_ * extent_bytes());
  wire_ = std::move(larger);
}

std::size_t BlockStatus::encoded_bytes() const {
  const std::size_t head_bytes = request_.extended ? kExtendedHeaderBytes + kBlockStatusExtendedHeadBytes
                                                   : kStructuredHeaderBytes + kBlockStatusHeadBytes;
  return head_bytes + extent_count() * extent_bytes();
}

std::size_t BlockStatus::encode(std::span<std::byte> out, std::uint32_t context_id, bool done) const {
  assert(extent_count() > 0);
  const std::size_t header_bytes = request_.extended ? kExtendedHeaderBytes : kStructuredHeaderBytes;
  const ChunkType type = request_.extended ? ChunkType::kBlockStatusExtended : ChunkType::kBlockStatus;
  ByteWriter writer(out);
  encode_chunk_header(
      writer, request_,
      {.type = type, .done = done, .payload_bytes = static_cast<std::uint32_t>(encoded_bytes() - header_bytes)});
  if (request_.extended) {
    encode_block_status_extended_head(writer, context_id, static_cast<std::uint32_t>(extent_count()));
  } else {
    encode_block_status_head(writer, context_id);
  }
  writer.bytes({wire_.get(), closed_ * extent_bytes()});
  put_open(out.data() + writer.written().size());
  assert(writer.written().size() + extent_bytes() == encoded_bytes());
  return encoded_bytes();
}

}  // namespace blockexport::nbd
