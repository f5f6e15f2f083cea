// Base64 decoder (RFC 4648). Thread: any; a pure function.
#pragma once

#include <optional>
#include <string_view>

#include "base/secret_bytes.h"

namespace blockexport {

// Skips line ends. Padding may be missing at the end, and pieces with padding may follow each other. Returns nothing
// when `text` holds any other character.
std::optional<SecretBytes> decode_base64(std::string_view text);

}  // namespace blockexport
