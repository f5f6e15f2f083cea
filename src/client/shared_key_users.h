// The users of keys.psk, for those who add, replace and remove them: lines of text in, lines of text out.
//
// Pure functions on secrets: who gets one wipes it. Lines that are none of a user's stay as they are. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace blockexport::client {

// A line "USER:HEXKEY" with a new key of 32 bytes.
Result<std::string> make_key_line(const std::string& user);
// The line of a user, with its end, or nothing.
std::optional<std::string> find_key_line(std::string_view text, std::string_view user);
// The text without the lines of a user, and with `line` ("" for none) at the end.
std::string with_key_line(std::string_view text, std::string_view user, std::string_view line);

}  // namespace blockexport::client
