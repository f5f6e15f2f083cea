// ReplyReader: turns received bytes into finished slots. Headers are parsed where they lie, payloads are checked where
// they lie and never copied; only the few bytes of a header that was cut off are kept for the next turn.
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
  // No header with its fixed part is longer than this.
  static constexpr std::size_t kLongestHead = 64;

  ReplyReader(Replies replies, Slots& slots, Tally& tally) : replies_(replies), slots_(slots), tally_(tally) {}

  // The bytes of a cut-off header: the caller puts them in front of what it receives next.
  std::span<const std::byte> carried() const { return std::span(carry_).first(carried_); }

  // Consumes everything (carried bytes first). Breaches of the protocol go to the tally, and end the reading.
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
  // The payload that is being read: whose, from where, how much is left, and whether the reply ends with it.
  Slot* slot_ = nullptr;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;
  bool is_data_ = false;
  bool done_ = false;
  std::array<std::byte, kLongestHead> carry_{};
  std::size_t carried_ = 0;
};

}  // namespace blockexport::bench
