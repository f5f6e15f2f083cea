#include "base/base64.h"

#include <cstdint>

namespace blockexport {
namespace {

constexpr unsigned kGroupLetters = 4;

int value_of(char letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  if (letter == '+') return 62;
  if (letter == '/') return 63;
  return -1;
}

}  // namespace

std::optional<SecretBytes> decode_base64(std::string_view text) {
  SecretBytes bytes(text.size() / 4 * 3 + 3);
  std::size_t filled = 0;
  std::uint32_t bits = 0;
  int bit_count = 0;
  unsigned position = 0;  // in the group of four
  bool is_padding = false;
  for (char letter : text) {
    if (letter == '\n' || letter == '\r') continue;
    if (letter == '=') {
      is_padding = true;
      position = (position + 1) % kGroupLetters;
      continue;
    }
    const int value = value_of(letter);
    // A new piece may begin after a group that is complete with its padding.
    if (value < 0 || (is_padding && position != 0)) return std::nullopt;
    if (is_padding) {
      bits = 0;
      bit_count = 0;
      is_padding = false;
    }
    position = (position + 1) % kGroupLetters;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    bytes.bytes()[filled++] = static_cast<std::byte>(bits >> bit_count & 0xff);
  }
  bytes.shrink(filled);
  return bytes;
}

}  // namespace blockexport
