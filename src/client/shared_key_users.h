// Users of keys.psk: text functions that find, add, replace and remove their lines.
//
// Pure functions on secrets: the caller wipes their results. Lines of other users and comments stay unchanged. Thread:
// any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace blockexport::client {

// Returns a line "USER:HEXKEY" with a new key of 32 bytes.
Result<std::string> make_key_line(const std::string& user);
// The line of a user, with its end, or nothing.
std::optional<std::string> find_key_line(std::string_view text, std::string_view user);
// The text without the lines of a user, and with `line` ("" for none) appended.
std::string with_key_line(std::string_view text, std::string_view user, std::string_view line);

}  // namespace blockexport::client
