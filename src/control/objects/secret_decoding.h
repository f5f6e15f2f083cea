// Decoding of secrets: Base64, and AES-256 in CBC mode under another secret's key.
// Pure functions; thread: any. Errors never repeat a byte of the input.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret_bytes.h"

namespace blockexport::control {

enum class SecretFormat { kRaw, kBase64 };

struct SecretCipher {
  std::string_view key;           // must be 32 bytes
  std::optional<std::string> iv;  // in Base64, must be 16 bytes
};

// Decodes `written` from `format`, and decrypts it if there is a cipher.
Result<SecretBytes> decode_secret(std::string_view written, SecretFormat format,
                                  const std::optional<SecretCipher>& cipher);

}  // namespace blockexport::control
