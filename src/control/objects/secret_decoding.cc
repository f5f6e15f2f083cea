#include "control/objects/secret_decoding.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <cstring>

#include "base/base64.h"

namespace blockexport::control {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kBlockBytes = 16;

Result<SecretBytes> from_base64(std::string_view text) {
  auto bytes = decode_base64(text);
  if (!bytes) return fail("Base64 data contains invalid characters");
  return std::move(*bytes);
}

gnutls_datum_t datum_of(std::string_view bytes) {
  return {.data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())),
          .size = static_cast<unsigned>(bytes.size())};
}

// Decrypts `bytes` in place.
Result<> decrypt(SecretBytes& bytes, std::string_view key, std::string_view iv) {
  if (bytes.size() % kBlockBytes != 0) {
    return fail(fmt::format("Length {} must be a multiple of block size {}", bytes.size(), kBlockBytes));
  }
  if (!bytes.empty()) {
    const gnutls_datum_t key_data = datum_of(key);
    const gnutls_datum_t iv_data = datum_of(iv);
    gnutls_cipher_hd_t cipher = nullptr;
    int outcome = gnutls_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_CBC, &key_data, &iv_data);
    if (outcome >= 0) {
      outcome = gnutls_cipher_decrypt(cipher, bytes.bytes().data(), bytes.size());
      gnutls_cipher_deinit(cipher);
    }
    if (outcome < 0) return fail(fmt::format("Unable to decrypt secret: {}", gnutls_strerror(outcome)));
  }
  // The last byte is the number of padding bytes.
  const std::size_t padding = bytes.empty() ? 0 : static_cast<std::size_t>(bytes.bytes().back());
  if (padding == 0 || padding > kBlockBytes) {
    return fail(fmt::format("Incorrect number of padding bytes ({}) found on decrypted data", padding));
  }
  bytes.shrink(bytes.size() - padding);
  return {};
}

}  // namespace

Result<SecretBytes> decode_secret(std::string_view written, SecretFormat format,
                                  const std::optional<SecretCipher>& cipher) {
  SecretBytes iv;
  if (cipher) {
    if (cipher->key.size() != kKeyBytes) return fail(fmt::format("Key should be {} bytes in length", kKeyBytes));
    if (!cipher->iv) return fail("IV is required to decrypt secret");
    TRY_ASSIGN(iv, from_base64(*cipher->iv));
    if (iv.size() != kBlockBytes) {
      return fail(fmt::format("IV should be {} bytes in length not {}", kBlockBytes, iv.size()));
    }
  }
  SecretBytes bytes(format == SecretFormat::kRaw ? written : std::string_view());
  if (format == SecretFormat::kBase64) {
    TRY_ASSIGN(bytes, from_base64(written));
  }
  if (cipher) TRY(decrypt(bytes, cipher->key, iv.text()));
  return bytes;
}

}  // namespace blockexport::control
