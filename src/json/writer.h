// Writing JSON as QMP sends it: ", " and ": " between parts, pure ASCII, or indented by four for people.
// Thread: any. Appends; never fails.
#pragma once

#include <string>

#include "json/value.h"

namespace blockexport::json {

// One line, without a newline.
void write(const Value& value, std::string& out);

// Indented, without a newline at the end.
void write_pretty(const Value& value, std::string& out);

std::string to_string(const Value& value);

}  // namespace blockexport::json
