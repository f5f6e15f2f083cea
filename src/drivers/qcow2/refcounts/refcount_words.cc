#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr unsigned kByteOrder = 3;  // refcounts of one byte

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
  const std::size_t bytes = std::size_t{1} << (order - kByteOrder);
  std::uint64_t value = 0;
  for (const std::byte byte : block.subspan(index * bytes, bytes))
    value = value << 8 | static_cast<std::uint64_t>(byte);
  return value;
}

void set_refcount_at(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value) {
  if (order < kByteOrder) {
    std::byte& byte = block[(index << order) >> 3];
    const unsigned shift = shift_in_byte(order, index);
    const auto others = static_cast<unsigned>(byte) & ~(unsigned{mask_of(order)} << shift);
    byte = static_cast<std::byte>(others | static_cast<unsigned>(value) << shift);
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
