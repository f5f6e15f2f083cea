// Base64 (RFC 4648) to bytes. Thread: any; a pure function.
#pragma once

#include <optional>
#include <string_view>

#include "base/secret_bytes.h"

namespace blockexport {

// Line ends are passed over, padding may be missing at the end, and pieces with padding may follow each other. Nothing
// when there is anything else in it.
std::optional<SecretBytes> decode_base64(std::string_view text);

}  // namespace blockexport
