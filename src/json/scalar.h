// Decoders from the text of a JSON token to a string, a number or a keyword.
//
// Pure functions, any thread. They rely on the lexer for the form of a token only; its content comes from the client.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::json {

// Longest part of a client's text that an error repeats, in bytes. QSD repeats all of it.
inline constexpr std::size_t kQuotedTextMax = 4096;

// `text` as an error message shows it: up to a NUL byte or kQuotedTextMax.
std::string_view quoted_text(std::string_view text);

// Decodes a string token with its quotes. On failure returns the reason, without "JSON parse error, ". The string may
// be a secret: the only copy that the function leaves is the result.
std::expected<std::string, std::string> decode_string(std::string_view token);

// Decodes true, false or null. On failure returns the reason.
std::expected<Value, std::string> decode_keyword(std::string_view token);

// -?digits: an int64 when it fits, else a uint64 when it fits, else a double. On failure returns the reason.
std::expected<Value, std::string> decode_integer(std::string_view token);

// Decodes a number with fraction or exponent to the nearest double, which may be zero. Refuses a number beyond the
// range of double: QSD takes it for infinity, and then answers with "inf", which is not JSON.
std::expected<Value, std::string> decode_double(std::string_view token);

}  // namespace blockexport::json
