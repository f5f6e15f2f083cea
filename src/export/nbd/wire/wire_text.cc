#include "export/nbd/wire/wire_text.h"

#include <cstdint>

#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {
namespace {

struct Character {
  std::size_t bytes;  // 0: not UTF-8
  std::uint32_t code_point;
};

// Decodes the first character of `text`, which is not empty (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
Character first_character(std::string_view text) {
  const auto byte_at = [&](std::size_t index) { return static_cast<std::uint8_t>(text[index]); };
  const std::uint8_t lead = byte_at(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {0, 0};
  std::uint32_t code_point = lead & (0x7fu >> bytes);
  for (std::size_t index = 1; index < bytes; ++index) {
    if ((byte_at(index) & 0xc0) != 0x80) return {0, 0};
    code_point = code_point << 6 | (byte_at(index) & 0x3f);
  }
  const std::uint32_t shortest = bytes == 4 ? 0x10000 : bytes == 3 ? 0x800 : 0x80;
  const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  if (code_point < shortest || code_point > 0x10ffff || surrogate) return {0, 0};
  return {bytes, code_point};
}

bool is_control(std::uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
}

}  // namespace

std::string printable(std::string_view text, std::size_t bytes_max) {
  std::string result;
  while (!text.empty()) {
    const Character character = first_character(text);
    const bool keep = character.bytes > 0 && !is_control(character.code_point);
    const std::string_view piece = keep ? text.substr(0, character.bytes) : std::string_view("?");
    if (result.size() + piece.size() > bytes_max) break;
    result += piece;
    text.remove_prefix(keep ? character.bytes : 1);
  }
  return result;
}

std::string quoted_name(std::string_view name) {
  std::string result = printable(name, kQuotedNameBytesMax);
  if (name.size() >= kQuotedNameBytesMax) result += "...";
  return result;
}

bool is_wire_string(std::string_view text) {
  if (text.size() > kStringBytesMax) return false;
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.bytes == 0 || character.code_point == 0) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

}  // namespace blockexport::nbd
