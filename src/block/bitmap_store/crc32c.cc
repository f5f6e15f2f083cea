#include "block/bitmap_store/crc32c.h"

#include <array>

namespace blockexport::block {
namespace {

constexpr std::uint32_t kReversedPolynomial = 0x82f63b78;
// Bytes that one step processes, each with a table of its own.
constexpr std::size_t kStepBytes = 8;

using Tables = std::array<std::array<std::uint32_t, 256>, kStepBytes>;

// tables[n][b]: the effect of byte b when n more bytes of the step follow it.
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; byte++) {
    std::uint32_t sum = byte;
    for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ ((sum & 1) != 0 ? kReversedPolynomial : 0);
    tables[0][byte] = sum;
  }
  for (std::size_t table = 1; table < kStepBytes; table++) {
    for (std::size_t byte = 0; byte < 256; byte++) {
      const std::uint32_t shorter = tables[table - 1][byte];
      tables[table][byte] = (shorter >> 8) ^ tables[0][shorter & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

constexpr std::uint32_t number(std::byte byte) {
  return std::to_integer<std::uint32_t>(byte);
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) {
  std::uint32_t sum = UINT32_MAX;
  for (; bytes.size() >= kStepBytes; bytes = bytes.subspan(kStepBytes)) {
    std::uint32_t next = 0;
    for (std::size_t at = 0; at < kStepBytes; at++) {
      const std::uint32_t mixed = number(bytes[at]) ^ (at < 4 ? (sum >> (8 * at)) & 0xff : 0);
      next ^= kTables[kStepBytes - 1 - at][mixed];
    }
    sum = next;
  }
  for (std::byte byte : bytes) sum = (sum >> 8) ^ kTables[0][(sum ^ number(byte)) & 0xff];
  return ~sum;
}

}  // namespace blockexport::block
