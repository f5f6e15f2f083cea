// JSON writer: text of a value, byte for byte as QSD writes it.
//
// Pure functions, any thread. The text is ASCII: other characters become \uXXXX, invalid UTF-8 becomes \uFFFD. Recurses
// once per nesting level, which is at most kNestingMax for a parsed value.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::json {

// Appends one line: {"a": 1, "b": [2, 3]}. Doubles have 17 significant digits; Infinity and NaN, which JSON does not
// have, become null.
void write(const Value& value, std::string& out);

// Appends a line per member or element, indented by 4. Lines end in '\n', the last one in nothing.
void write_pretty(const Value& value, std::string& out);

// Appends `text` as a JSON string with its quotes.
void write_string(std::string_view text, std::string& out);

// The text that write() would append.
std::string to_string(const Value& value);

}  // namespace blockexport::json
