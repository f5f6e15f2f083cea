// From what a user wrote down to the bytes of a secret: Base64, and AES-256 in CBC mode under another secret's key.
// Pure functions; thread: any. Errors never repeat a byte of what they are given.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret_bytes.h"

namespace blockexport::control {

enum class SecretFormat { kRaw, kBase64 };

struct SecretCipher {
  std::string_view key;           // to be 32 bytes
  std::optional<std::string> iv;  // in Base64, to be 16 bytes
};

// `written` is in `format`, and encrypted when there is a cipher.
Result<SecretBytes> decode_secret(std::string_view written, SecretFormat format,
                                  const std::optional<SecretCipher>& cipher);

}  // namespace blockexport::control
