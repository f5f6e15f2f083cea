// Writer: values into JSON text, byte for byte as QSD writes them.
//
// Pure functions, any thread. The text is ASCII whatever the strings hold: other characters become \uXXXX, what is not
// valid UTF-8 becomes \uFFFD. Recurses as deep as the value is, which for a parsed one is kNestingMax.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::json {

// Appends one line: {"a": 1, "b": [2, 3]}. Doubles have 17 significant digits; JSON cannot say infinity or NaN, which
// become null.
void write(const Value& value, std::string& out);

// Appends a line per member or element, indented by 4. Lines end in '\n', the last one in nothing.
void write_pretty(const Value& value, std::string& out);

// Appends `text` as a JSON string with its quotes.
void write_string(std::string_view text, std::string& out);

// What write() appends.
std::string to_string(const Value& value);

}  // namespace blockexport::json
