// From a token's text to the string, number or keyword it stands for.
//
// Owned by nobody, used from any thread. Trusts the lexer for a token's shape only; contents are the client's.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::json {

// How much of a client's text an error repeats. QSD repeats all of it; nobody needs a long token twice.
inline constexpr std::size_t kQuotedTextMax = 4096;

// `text` as an error message shows it: up to a NUL byte or kQuotedTextMax.
std::string_view quoted_text(std::string_view text);

// A string token with its quotes. On failure the reason, without "JSON parse error, ". It may be a secret: nothing of
// it is left anywhere but in what is returned.
std::expected<std::string, std::string> decode_string(std::string_view token);

// true, false or null. On failure the reason.
std::expected<Value, std::string> decode_keyword(std::string_view token);

// -?digits: an integer when it fits int64, an unsigned one when it fits uint64, a double otherwise. On failure the
// reason.
std::expected<Value, std::string> decode_integer(std::string_view token);

// A number with fraction or exponent: the nearest double, which may be zero. One beyond all doubles is refused: QSD
// takes it for infinity, and then answers with an "inf" that is no JSON.
std::expected<Value, std::string> decode_double(std::string_view token);

}  // namespace blockexport::json
