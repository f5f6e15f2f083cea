// Escaping of text from peers, files and users for log lines: control bytes become \xNN. Thread: any.
#pragma once

#include <string>
#include <string_view>

namespace blockexport {

// `text` with control bytes written as \xNN, cut to `limit` bytes plus "...".
std::string printable(std::string_view text, std::size_t limit = 80);

// Appends all of `text` to `out`, with control bytes as \xNN; newlines stay when `keep_newlines`.
void append_printable(std::string& out, std::string_view text, bool keep_newlines);

}  // namespace blockexport
