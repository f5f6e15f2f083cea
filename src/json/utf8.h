// Modified UTF-8, the encoding of json::Value's strings: UTF-8 in which U+0000 may be encoded as C0 80.
//
// Surrogates, noncharacters (U+FFFE, U+FDD0, ...) and overlong sequences are invalid. Thread: any. Allocates nothing
// but what it appends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace blockexport::json {

// Replacement for each invalid sequence in output.
inline constexpr std::uint32_t kReplacementCharacter = 0xFFFD;

struct Utf8Sequence {
  bool valid = false;
  std::uint32_t codepoint = 0;  // only when valid
  std::size_t length = 0;       // length in bytes, at least 1; of an invalid one, the bytes to skip
};

// Decodes the sequence at the front of `text`, which is not empty.
Utf8Sequence decode_utf8(std::string_view text);

// True if a string may contain it: in range, no surrogate, no noncharacter.
bool is_character(std::uint32_t codepoint);

// Appends a character in modified UTF-8: U+0000 becomes C0 80.
void append_utf8(std::string& out, std::uint32_t character);

}  // namespace blockexport::json
