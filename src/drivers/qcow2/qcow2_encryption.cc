#include "drivers/qcow2/qcow2_encryption.h"

#include <fmt/format.h>

#include <algorithm>

#include "drivers/encryption/node_luks_storage.h"
#include "drivers/encryption/passphrases.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::string_view kOptionPrefix = "encrypt.";

// The older method: the passphrase itself is the key.
Result<std::unique_ptr<ImageEncryption>> open_aes(const std::optional<std::string>& key_secret, SecretSource* secrets) {
  if (is_to_be_locked(secrets, key_secret)) {
    return std::unique_ptr<ImageEncryption>(
        new ImageEncryption{.by_guest_offset = true, .data = EncryptedData(nullptr)});
  }
  TRY_ASSIGN(const crypto::Passphrase passphrase, find_passphrase(secrets, key_secret, kOptionPrefix));
  const crypto::CipherSpec spec{.algorithm = crypto::CipherAlgorithm::kAes128, .mode = crypto::CipherMode::kCbc};
  SecretBytes key(crypto::key_bytes_of(spec));
  const std::span<const std::byte> given = passphrase->bytes();
  std::ranges::copy(given.first(std::min(given.size(), key.size())), key.bytes().begin());
  TRY_ASSIGN(std::unique_ptr<crypto::SectorCipher> cipher, crypto::SectorCipher::create(spec, key.bytes()));
  return std::unique_ptr<ImageEncryption>(new ImageEncryption{
      .by_guest_offset = true, .data = EncryptedData(std::move(cipher)), .key_secret = *key_secret});
}

}  // namespace

aio::Task<Result<std::unique_ptr<ImageEncryption>>> open_encryption(block::Node& file, const ImageContent& image,
                                                                    const std::optional<std::string>& key_secret,
                                                                    SecretSource* secrets) {
  const std::uint32_t method = image.header.encryption_method;
  if (method == kEncryptionNone) co_return nullptr;
  if (method == kEncryptionAes) co_return open_aes(key_secret, secrets);
  const std::optional<EncryptionExtension> place = image.extensions.encryption();
  if (!place) co_return fail(fmt::format("Missing CRYPTO header for crypt method {}", method));
  const bool is_locked = is_to_be_locked(secrets, key_secret);
  crypto::Passphrase passphrase;
  if (!is_locked) {
    CO_TRY_ASSIGN(passphrase, find_passphrase(secrets, key_secret, kOptionPrefix));
  }
  if (place->bytes > kEncryptionHeaderBytesMax || place->offset > INT64_MAX - place->bytes) {
    co_return fail("Request for data outside of extension header");
  }
  NodeLuksStorage storage(file, place->offset, place->bytes);
  CO_TRY_ASSIGN(crypto::LuksHeader header,
                co_await crypto::read_luks_header(storage, crypto::LuksPlacement::kBeforeData));
  std::unique_ptr<crypto::SectorCipher> cipher;
  if (!is_locked) {
    CO_TRY_ASSIGN(const SecretBytes key, co_await crypto::unlock_luks(storage, header, std::move(passphrase)));
    CO_TRY_ASSIGN(cipher, crypto::SectorCipher::create(header.cipher, key.bytes()));
  }
  co_return std::unique_ptr<ImageEncryption>(new ImageEncryption{
      .data = EncryptedData(std::move(cipher)), .luks = std::move(header), .key_secret = key_secret.value_or("")});
}

}  // namespace blockexport::drivers::qcow2
