// Lexical rules that the two option grammars, keyval and QemuOpts, share.
//
// Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>

namespace blockexport::json {

// True for the words "help" and "?".
bool is_help_word(std::string_view word);

// Returns the value at the front of `text`, up to a single comma (",," is one comma of the value), and removes both
// from the front. The value may be a secret: the only copy that the function makes is the result.
std::string take_option_value(std::string_view& text);

}  // namespace blockexport::json
