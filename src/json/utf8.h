// Modified UTF-8, as JSON strings hold it here: UTF-8 in which U+0000 may be spelled C0 80.
//
// What is not a character (a surrogate, U+FFFE, U+FDD0, ...) and what is spelled longer than need be is invalid.
// Thread: any. Allocates nothing but what it appends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace blockexport::json {

// What every invalid sequence is written as.
inline constexpr std::uint32_t kReplacementCharacter = 0xFFFD;

struct Utf8Sequence {
  bool valid = false;
  std::uint32_t codepoint = 0;  // only when valid
  std::size_t length = 0;       // bytes it takes; of an invalid one, those up to where the next one starts; at least 1
};

// Decodes the sequence at the front of `text`, which is not empty.
Utf8Sequence decode_utf8(std::string_view text);

// True when it may stand in a string: in range, not a surrogate, not a noncharacter.
bool is_character(std::uint32_t codepoint);

// Appends a character in modified UTF-8: U+0000 becomes C0 80.
void append_utf8(std::string& out, std::uint32_t character);

}  // namespace blockexport::json
