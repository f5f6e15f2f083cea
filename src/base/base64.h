// Base64 (RFC 4648) to bytes. Thread: any; a pure function.
#pragma once

#include <optional>
#include <string_view>

#include "base/secret_bytes.h"

namespace blockexport {

// Line ends are passed over, and padding may be missing. Nothing when there is anything else in it.
std::optional<SecretBytes> decode_base64(std::string_view text);

}  // namespace blockexport
