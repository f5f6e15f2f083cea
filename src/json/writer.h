// Writer: values into JSON text, byte for byte as QSD writes them.
//
// Pure functions, any thread. The text is ASCII whatever the strings hold: other characters become \uXXXX, what is not
// valid UTF-8 becomes \uFFFD. Recurses as deep as the value is, which for a parsed one is kNestingMax.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::json {

enum class Layout {
  kCompact,  // one line: {"a": 1, "b": [2, 3]}
  kPretty,   // a member or element per line, indented by 4; lines end in '\n', the last one in nothing
};

// Appends the text of `value`. Doubles have 17 significant digits. JSON cannot say infinity or NaN: they become
// 1e999, -1e999, which read back as what they were, and null.
void write(std::string& out, const Value& value, Layout layout = Layout::kCompact);

// The same as a string of its own.
std::string to_text(const Value& value, Layout layout = Layout::kCompact);

// Appends `text` as a JSON string with its quotes.
void write_string(std::string& out, std::string_view text);

}  // namespace blockexport::json
