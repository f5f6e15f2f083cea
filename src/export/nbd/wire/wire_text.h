// Text for the wire and for logs, made from a client's bytes: valid UTF-8, printable, short.
//
// Thread: any. Bytes that are not printable UTF-8 become question marks.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace blockexport::nbd {

// Maximum length of an error text sent to a client, in bytes: the length that the protocol recommends for strings.
inline constexpr std::size_t kErrorTextBytesMax = 256;
// Maximum length of a client's name within an error text, in bytes.
inline constexpr std::size_t kQuotedNameBytesMax = 80;

// `text` with each byte that is not part of a printable character replaced by '?', truncated after the last character
// that fits into `bytes_max` bytes.
std::string printable(std::string_view text, std::size_t bytes_max = kErrorTextBytesMax);

// A name for an error text: printable, and truncated at kQuotedNameBytesMax with "..." behind it.
std::string quoted_name(std::string_view name);

// True if `text` is UTF-8 without NUL and at most kStringBytesMax long, as the protocol requires of every string.
bool is_wire_string(std::string_view text);

}  // namespace blockexport::nbd
