// Text for the wire and for logs, made of bytes that a client chose: valid UTF-8, printable, short.
//
// Thread: any. Never trusts what it is given: bytes that are not printable UTF-8 come out as question marks.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace blockexport::nbd {

// Longest error text sent to a client, in bytes: the length that the protocol recommends for strings.
inline constexpr std::size_t kErrorTextBytesMax = 256;
// How much of a client's name is repeated in an error text, in bytes.
inline constexpr std::size_t kQuotedNameBytesMax = 80;

// `text` with each byte that is not part of a printable character replaced by '?', cut at a character's end so that at
// most `bytes_max` bytes remain.
std::string printable(std::string_view text, std::size_t bytes_max = kErrorTextBytesMax);

// A name as an error text repeats it: printable, and from kQuotedNameBytesMax on cut there with "..." behind.
std::string quoted_name(std::string_view name);

// True if `text` is UTF-8 without NUL and at most kStringBytesMax long: what every string on the wire has to be.
bool is_wire_string(std::string_view text);

}  // namespace blockexport::nbd
