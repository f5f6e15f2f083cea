// Reply encoder: complete small replies and the headers of large ones, in the header mode of the request.
//
// Each function writes into a span that the caller owns, returns the number of bytes written and never fails; `mode`
// has to match that of the request. Thread: any. Never allocates, except BlockStatus, which keeps the extents of one
// reply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "export/nbd/wire/wire.h"
#include "export/nbd/wire/wire_codec.h"
#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {

// Size of a buffer for encode_success(), encode_data_head() or encode_hole().
inline constexpr std::size_t kReplyHeadBytesMax = kExtendedHeaderBytes + kOffsetHoleBytes;
// Size of a buffer for encode_error().
inline constexpr std::size_t kErrorReplyBytesMax = kExtendedHeaderBytes + kErrorHeadBytes + kErrorTextBytesMax;

// Reply to a command that succeeded and returns no data; to a READ only if its length is zero.
std::size_t encode_success(std::span<std::byte> out, HeaderMode mode, const Request& request);

// The last chunk, or the complete reply, of a failed request. `text` is for a person: it must be printable and is
// truncated to kErrorTextBytesMax; simple replies have no text.
std::size_t encode_error(std::span<std::byte> out, HeaderMode mode, const Request& request, NbdError error,
                         std::string_view text);

// The header before `length` > 0 bytes of data of a READ, which begin at `offset` of the export. In simple mode the
// data are those of the whole request; otherwise `done` means that no chunk follows.
std::size_t encode_data_head(std::span<std::byte> out, HeaderMode mode, const Request& request, std::uint64_t offset,
                             std::uint32_t length, bool done);

// A chunk for a hole: `length` > 0 bytes from `offset` read as zeroes. Not in simple mode.
std::size_t encode_hole(std::span<std::byte> out, HeaderMode mode, const Request& request, std::uint64_t offset,
                        std::uint32_t length, bool done);

// The number of extents for which one block status chunk stays within kExtentsMax and within `chunk_bytes_max`, the
// payload maximum that the server announced (at least 512).
std::size_t extents_max_within(HeaderMode mode, std::uint32_t chunk_bytes_max);

// The extents of one context in the reply to one BLOCK_STATUS: call add() in order from the request's offset on, then
// encode(). It joins equal neighbours, clips extents at the end of the range, and drops extents that do not fit any
// more.
class BlockStatus {
 public:
  // `length` > 0 is that of the requested range: 32 bits wide unless the request is extended.
  BlockStatus(const Request& request, std::uint64_t length, std::size_t extents_max = kExtentsMax);

  // Adds an extent; an empty one is ignored. False when the reply is full: the caller stops querying the node.
  bool add(std::uint64_t length, std::uint32_t status);

  // True if add() would ignore further extents.
  bool is_full() const { return full_; }
  // Bytes of the range that the extents describe so far.
  std::uint64_t covered_bytes() const { return covered_; }
  std::size_t extent_count() const { return closed_ + (open_.length > 0 ? 1 : 0); }

  // The number of bytes that encode() writes.
  std::size_t encoded_bytes() const;

  // Encodes the chunk, which has at least one extent. `done` if it is the last context of the reply.
  std::size_t encode(std::span<std::byte> out, std::uint32_t context_id, bool done) const;

 private:
  struct Extent {
    std::uint64_t length = 0;
    std::uint32_t status = 0;
  };
  std::size_t extent_bytes() const { return request_.extended ? kExtendedExtentBytes : kExtentBytes; }
  // Writes the open extent in wire format.
  void put_open(std::byte* out) const;
  void close_open();
  void allocate_more();

  Request request_;
  std::uint64_t length_;
  std::uint64_t covered_ = 0;
  std::size_t extents_max_;
  bool full_ = false;
  Extent open_;                        // the last extent, which an equal neighbour may extend
  std::size_t closed_ = 0;             // number of extents before it
  std::size_t capacity_ = 0;           // capacity of wire_ in extents
  std::unique_ptr<std::byte[]> wire_;  // the closed extents in wire format
};

}  // namespace blockexport::nbd
