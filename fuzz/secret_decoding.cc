// Fuzzes the decoding of secrets: no bytes may break it, and no error may repeat a secret.
//
// Input: a byte that selects the format and a cipher, a byte with the length of the initial vector's text, that text,
// and the user's secret.
#include "control/objects/secret_decoding.h"

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

namespace blockexport::control {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

// A text that is in none of our messages, and is valid in both formats.
constexpr std::string_view kCanary = "q9Zx7Lw0Vk3B";
constexpr std::string_view kKey = "12345678901234567890123456789012";

// Decodes the secret between two marks; the error must not contain the marks.
void check_error_repeats_nothing(std::string_view secret, SecretFormat format,
                                 const std::optional<SecretCipher>& cipher) {
  const std::string marked = std::string(kCanary) + std::string(secret) + std::string(kCanary);
  auto decoded = decode_secret(marked, format, cipher);
  require(decoded || decoded.error().message().find(kCanary) == std::string::npos);
}

void fuzz(std::uint8_t choice, std::size_t vector_length, std::string_view rest) {
  const auto format = (choice & 1) != 0 ? SecretFormat::kBase64 : SecretFormat::kRaw;
  std::optional<SecretCipher> cipher;
  if ((choice & 2) != 0) {
    cipher.emplace(SecretCipher{.key = kKey.substr(0, (choice & 4) != 0 ? 31 : 32), .iv = {}});
    vector_length = std::min(vector_length, rest.size());
    if ((choice & 8) == 0) cipher->iv = "MTIzNDU2Nzg5MDEyMzQ1Ng==";
    if ((choice & 16) != 0) cipher->iv = rest.substr(0, vector_length);
    rest.remove_prefix(vector_length);
  }
  auto decoded = decode_secret(rest, format, cipher);
  if (!decoded) {
    require(!decoded.error().message().empty());
    check_error_repeats_nothing(rest, format, cipher);
    return;
  }
  require(decoded->size() <= rest.size());
  require(format != SecretFormat::kRaw || cipher || decoded->text() == rest);
}

}  // namespace
}  // namespace blockexport::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  blockexport::control::fuzz(data[0], data[1], {reinterpret_cast<const char*>(data + 2), size - 2});
  return 0;
}
