// Runtime state: the content of runtime.json, which has everything that QMP commands have made.
//
// Pure functions over text; thread: any. The file may have any content.
#pragma once

#include <string>
#include <string_view>

#include "configuration/finding.h"
#include "schema/runtime.h"

namespace blockexport::configuration {

inline constexpr std::uint32_t kRuntimeStateVersion = 1;

// Decodes the text of the file at `path`, as a whole: each error is a finding, with which the result means nothing.
schema::RuntimeState parse_runtime_state(const std::string& path, std::string_view text, Findings& findings);

// The text, with a line for each object.
std::string text_of(const schema::RuntimeState& state);

}  // namespace blockexport::configuration
