// The text that a JSON string token stands for. Layer-internal: used by the parser alone.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace blockexport::json {

// `token` with its quotes. U+0000 becomes the two bytes C0 80. Errors name the escape or say that the UTF-8 is invalid.
Result<std::string> unquote(std::string_view token);

// Reads one character of modified UTF-8 (C0 80 is U+0000) from the front of `text`, at most 4 bytes; returns its length
// and sets `code`, or returns 0 when the bytes are not valid (overlong, surrogate, noncharacter or above U+10FFFF).
std::size_t read_utf8(std::string_view text, char32_t& code);

}  // namespace blockexport::json
