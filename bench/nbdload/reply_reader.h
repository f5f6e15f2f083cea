// ReplyReader: parser of received replies, which completes their slots. Headers are parsed and payloads are checked in
// the receive buffer, without a copy; only the bytes of an incomplete header are kept for the next turn.
//
// Thread: one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/negotiate.h"
#include "nbdload/slots.h"
#include "nbdload/tally.h"

namespace blockexport::bench {

class ReplyReader {
 public:
  // Longest header with its fixed part.
  static constexpr std::size_t kLongestHead = 64;

  ReplyReader(Replies replies, Slots& slots, Tally& tally) : replies_(replies), slots_(slots), tally_(tally) {}

  // The bytes of an incomplete header, which the caller puts before the bytes that it receives next.
  std::span<const std::byte> carried() const { return std::span(carry_).first(carried_); }

  // Consumes all bytes (carried bytes first). A protocol error is recorded in the tally, and ends the parsing.
  void feed(std::span<const std::byte> bytes, uint64_t now_ns);

 private:
  struct Head {
    std::size_t size = 0;
    uint64_t payload = 0;
  };

  std::size_t take_payload(std::span<const std::byte> bytes, uint64_t now_ns);
  std::optional<Head> take_simple(std::span<const std::byte> bytes, uint64_t now_ns);
  std::optional<Head> take_chunk(std::span<const std::byte> bytes, uint64_t now_ns);
  std::optional<Head> open_content(std::span<const std::byte> body, Chunk type, uint64_t length);
  void finish_chunk(uint64_t now_ns);
  Slot* slot_of(uint64_t cookie);

  Replies replies_;
  Slots& slots_;
  Tally& tally_;
  // The current payload: its slot, its offset, its remaining length, and whether it ends the reply.
  Slot* slot_ = nullptr;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;
  bool is_data_ = false;
  bool done_ = false;
  std::array<std::byte, kLongestHead> carry_{};
  std::size_t carried_ = 0;
};

}  // namespace blockexport::bench
