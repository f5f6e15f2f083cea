// Pattern: the content of a benchmark image as a function of the offset, so that any piece of any reply can be checked.
//
// The content is a pseudo-random table repeated with a period that is no multiple of any power of two above 4 KiB: a
// block from a wrong offset differs. The table is mapped again and again back to back, so every offset has a contiguous
// run of `longest` bytes that costs neither memory nor generation; a write payload is simply a pointer. A salt shifts
// the table: a rewrite with another salt proves that writes reach the image. A vocabulary makes it compressible.
// Thread: any once built. Owns its mapping until the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace blockexport::bench {

class Pattern {
 public:
  static constexpr std::size_t kPeriod = std::size_t{255} * 4096;

  // `longest`: the longest run that at() must return, in bytes. `vocabulary`: the number of different words of 8 bytes
  // that the table is made of; 0: every word is another one, and nothing can be compressed.
  Pattern(uint64_t salt, std::size_t longest, uint64_t vocabulary = 0);

  const std::byte* at(uint64_t offset) const { return base_ + (offset + shift_) % kPeriod; }

  // Compares data that was read from `offset`.
  bool matches(uint64_t offset, std::span<const std::byte> data) const;

  // Compares only the first and last 8 bytes; done for every reply.
  bool ends_match(uint64_t offset, std::span<const std::byte> data) const;

 private:
  const std::byte* base_ = nullptr;
  uint64_t shift_ = 0;
};

}  // namespace blockexport::bench
