#include "json/utf8.h"

#include <bit>

namespace blockexport::json {
namespace {

// Smallest code point that needs a sequence of that many bytes; the sequence of a smaller one is "overlong".
constexpr std::uint32_t kLeastOfLength[] = {0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000};

std::uint8_t byte_at(std::string_view text, std::size_t position) {
  return static_cast<std::uint8_t>(text[position]);
}

}  // namespace

Utf8Sequence decode_utf8(std::string_view text) {
  const std::uint8_t first = byte_at(text, 0);
  if (first < 0x80) return {.valid = true, .codepoint = first, .length = 1};
  // The number of leading one bits gives the length. Older UTF-8 allowed 5 and 6, and such a sequence is still skipped
  // as a whole.
  const std::size_t length = static_cast<std::size_t>(std::countl_one(first));
  if (length < 2 || length > 6) return {.length = 1};
  std::uint32_t codepoint = first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size() || (byte_at(text, i) & 0xC0) != 0x80) return {.length = i};
    codepoint = codepoint << 6 | (byte_at(text, i) & 0x3F);
  }
  const bool overlong = codepoint < kLeastOfLength[length] && !(codepoint == 0 && length == 2);
  return {.valid = is_character(codepoint) && !overlong, .codepoint = codepoint, .length = length};
}

bool is_character(std::uint32_t codepoint) {
  const bool surrogate = codepoint >= 0xD800 && codepoint <= 0xDFFF;
  const bool noncharacter = (codepoint >= 0xFDD0 && codepoint <= 0xFDEF) || (codepoint & 0xFFFE) == 0xFFFE;
  return codepoint <= 0x10FFFF && !surrogate && !noncharacter;
}

void append_utf8(std::string& out, std::uint32_t character) {
  if (character != 0 && character < 0x80) {
    out += static_cast<char>(character);
    return;
  }
  const int continuations = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  const std::uint32_t lead = 0xFFu << (7 - continuations) & 0xFF;
  out += static_cast<char>(lead | character >> (6 * continuations));
  for (int left = continuations - 1; left >= 0; --left) {
    out += static_cast<char>(0x80 | (character >> (6 * left) & 0x3F));
  }
}

}  // namespace blockexport::json
