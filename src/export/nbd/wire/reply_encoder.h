// Whole small replies and the heads of big ones, in the mode of the request they answer.
//
// A function writes into a span that the caller owns, returns the bytes written and never fails; which mode is in force
// is told by `mode`, which has to match the request. Thread: any. Never allocates, except BlockStatus, which keeps the
// extents of one reply.
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

// Big enough for whatever encode_success(), encode_data_head() and encode_hole() write.
inline constexpr std::size_t kReplyHeadBytesMax = kExtendedHeaderBytes + kOffsetHoleBytes;
// Big enough for encode_error().
inline constexpr std::size_t kErrorReplyBytesMax = kExtendedHeaderBytes + kErrorHeadBytes + kErrorTextBytesMax;

// The answer to a command that succeeded and has nothing to tell; to a READ only if its length is zero.
std::size_t encode_success(std::span<std::byte> out, HeaderMode mode, const Request& request);

// The last chunk, or the whole reply, of a request that failed. `text` is for a person: it has to be printable and is
// cut to kErrorTextBytesMax; simple replies carry none.
std::size_t encode_error(std::span<std::byte> out, HeaderMode mode, const Request& request, NbdError error,
                         std::string_view text);

// What stands before `length` > 0 bytes of data of a READ, which begin at `offset` of the export. In simple mode the
// data are the whole request; else `done` says that no chunk follows.
std::size_t encode_data_head(std::span<std::byte> out, HeaderMode mode, const Request& request, std::uint64_t offset,
                             std::uint32_t length, bool done);

// A chunk saying that `length` > 0 bytes from `offset` read as zeroes. Not in simple mode.
std::size_t encode_hole(std::span<std::byte> out, HeaderMode mode, const Request& request, std::uint64_t offset,
                        std::uint32_t length, bool done);

// How many extents one block status chunk may hold so that it stays within `chunk_bytes_max`, the payload maximum that
// the client was told (at least 512), and within kExtentsMax.
std::size_t extents_max_within(HeaderMode mode, std::uint32_t chunk_bytes_max);

// The extents of one context in answer to one BLOCK_STATUS: add them in order from the request's offset on, then
// encode. Equal neighbours become one; nothing reaches past the range; what does not fit any more is left out.
class BlockStatus {
 public:
  // `length` > 0 is that of the range asked about: 32 bits wide unless the request is extended.
  BlockStatus(const Request& request, std::uint64_t length, std::size_t extents_max = kExtentsMax);

  // Adds an extent; one of no bytes is nothing. False once nothing more can be taken: stop asking the node.
  bool add(std::uint64_t length, std::uint32_t status);

  // True if add() would take nothing more.
  bool is_full() const { return full_; }
  // Bytes of the range described so far.
  std::uint64_t covered_bytes() const { return covered_; }
  std::size_t extent_count() const { return closed_ + (open_.length > 0 ? 1 : 0); }

  // Bytes that encode() writes.
  std::size_t encoded_bytes() const;

  // The whole chunk, of which at least one extent was added. `done` if it is the last context of the reply.
  std::size_t encode(std::span<std::byte> out, std::uint32_t context_id, bool done) const;

 private:
  struct Extent {
    std::uint64_t length = 0;
    std::uint32_t status = 0;
  };
  std::size_t extent_bytes() const { return request_.extended ? kExtendedExtentBytes : kExtentBytes; }
  // The open extent, as it goes to the client.
  void put_open(std::byte* out) const;
  void close_open();
  void make_room();

  Request request_;
  std::uint64_t length_;
  std::uint64_t covered_ = 0;
  std::size_t extents_max_;
  bool full_ = false;
  Extent open_;                        // the last one, which a neighbour may still make longer
  std::size_t closed_ = 0;             // those before it
  std::size_t room_ = 0;               // how many wire_ has room for
  std::unique_ptr<std::byte[]> wire_;  // the closed ones, as they go to the client
};

}  // namespace blockexport::nbd
