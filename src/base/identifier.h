// is_identifier(): the rule for the ids that users give to objects, exports and nodes, and to chardevs of the command
// line.
//
// It is that of QMP's clients: what they may name, and what errors say of it. Thread: any.
#pragma once

#include <string_view>

namespace blockexport {

// True if `text` is a letter of ASCII, and behind it any number of letters, digits, '-', '.' and '_'.
bool is_identifier(std::string_view text);

// The hint for an error about an id that is none.
inline constexpr const char* kIdentifierHint =
    "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.";

}  // namespace blockexport
