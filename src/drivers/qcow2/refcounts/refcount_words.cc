#include "drivers/qcow2/refcounts/refcount_words.h"

#include <cstring>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr unsigned kByteOrder = 3;      // refcounts of one byte
constexpr unsigned kTwoBytesOrder = 4;  // the width of most images
constexpr unsigned kWordBits = 64;

// Several refcounts share a byte, the first one in its lowest bits.
unsigned shift_in_byte(unsigned order, std::uint64_t index) {
  return static_cast<unsigned>((index << order) & 7);
}

std::uint8_t mask_of(unsigned order) {
  return static_cast<std::uint8_t>((1u << (1u << order)) - 1);
}

}  // namespace

std::uint64_t refcount_at(std::span<const std::byte> block, unsigned order, std::uint64_t index) {
  if (order < kByteOrder) {
    const auto byte = static_cast<unsigned>(block[(index << order) >> 3]);
    return byte >> shift_in_byte(order, index) & mask_of(order);
  }
  if (order == kTwoBytesOrder) {
    return static_cast<std::uint64_t>(block[2 * index]) << 8 | static_cast<std::uint64_t>(block[2 * index + 1]);
  }
  const std::size_t bytes = std::size_t{1} << (order - kByteOrder);
  std::uint64_t value = 0;
  for (const std::byte byte : block.subspan(index * bytes, bytes))
    value = value << 8 | static_cast<std::uint64_t>(byte);
  return value;
}

std::uint64_t next_free(std::span<const std::byte> block, unsigned order, std::uint64_t index) {
  const std::uint64_t per_word = kWordBits >> order;
  const std::uint64_t count = block.size() / sizeof(std::uint64_t) * per_word;
  const std::uint64_t largest = order == 6 ? UINT64_MAX : (std::uint64_t{1} << (1u << order)) - 1;
  // The lowest and the highest bit of each refcount of a word. A subtraction of 1 from a refcount of 0 sets the
  // highest.
  const std::uint64_t lowest = UINT64_MAX / largest;
  const std::uint64_t highest = lowest << ((1u << order) - 1);
  while (index < count) {
    if (index % per_word == 0) {
      std::uint64_t word;
      std::memcpy(&word, block.data() + index / per_word * sizeof word, sizeof word);
      if (((word - lowest) & ~word & highest) == 0) {
        index += per_word;
        continue;
      }
    }
    if (refcount_at(block, order, index) == 0) return index;
    ++index;
  }
  return count;
}

void set_refcount_at(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value) {
  if (order < kByteOrder) {
    std::byte& byte = block[(index << order) >> 3];
    const unsigned shift = shift_in_byte(order, index);
    const auto others = static_cast<unsigned>(byte) & ~(unsigned{mask_of(order)} << shift);
    byte = static_cast<std::byte>(others | static_cast<unsigned>(value) << shift);
    return;
  }
  if (order == kTwoBytesOrder) {
    block[2 * index] = static_cast<std::byte>(value >> 8);
    block[2 * index + 1] = static_cast<std::byte>(value);
    return;
  }
  const std::size_t bytes = std::size_t{1} << (order - kByteOrder);
  const std::span<std::byte> field = block.subspan(index * bytes, bytes);
  for (std::size_t i = bytes; i > 0; --i) {
    field[i - 1] = static_cast<std::byte>(value);
    value >>= 8;
  }
}

}  // namespace blockexport::drivers::qcow2
