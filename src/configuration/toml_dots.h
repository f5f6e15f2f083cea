// find_too_many_dots(): check of a TOML text before it is parsed, since each dot of a key nests one more table, and the
// parser destroys nested tables by recursion.
//
// Pure function; thread: any.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "json/lexer.h"

namespace blockexport::configuration {

// Most dots in one line outside of strings and comments.
inline constexpr std::size_t kLineDotsMax = 64;

// The first dot beyond the limit; nothing when there is none. In a text with a syntax error it may take a string's
// content for keys, or the reverse, only behind the error.
std::optional<json::Position> find_too_many_dots(std::string_view text);

}  // namespace blockexport::configuration
