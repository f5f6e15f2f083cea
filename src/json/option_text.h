// What the two option grammars, keyval and QemuOpts, have in common.
//
// Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>

namespace blockexport::json {

// True for the words "help" and "?".
bool is_help_word(std::string_view word);

// The value at the front of `text`: all up to a comma that stands alone; ",," is one comma of the value. Takes it and
// the comma behind it off the front. It may be a secret: nothing of it is left but in what is returned.
std::string take_option_value(std::string_view& text);

}  // namespace blockexport::json
