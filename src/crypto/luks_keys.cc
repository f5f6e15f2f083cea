#include "crypto/luks_keys.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>

#include "crypto/hash.h"
#include "crypto/key_split.h"
#include "crypto/sector_cipher.h"

namespace blockexport::crypto {
namespace {

// Iterations that take so long, of which an image then has a part; never more than the image could be opened with.
Result<std::uint32_t> iterations_for(const LuksHeader& header, std::size_t key_bytes, std::uint64_t time_ms,
                                     std::uint64_t divisor) {
  const std::uint64_t per_second = iterations_per_second(header.hash, key_bytes);
  if (per_second > UINT64_MAX / std::max<std::uint64_t>(time_ms, 1)) {
    return fail(Error::system(fmt::format("PBKDF iterations {} too large to scale", per_second), Errno(ERANGE)));
  }
  const std::uint64_t iterations = per_second * time_ms / 1000 / divisor;
  if (iterations > kLuksIterationsMax) {
    return fail(Error::system(fmt::format("PBKDF iterations {} larger than {}", iterations, kLuksIterationsMax),
                              Errno(ERANGE)));
  }
  return std::max(static_cast<std::uint32_t>(iterations), kLuksIterationsMin);
}

std::array<std::byte, kLuksDigestBytes> digest_of(const LuksHeader& header, const SecretBytes& master_key) {
  std::array<std::byte, kLuksDigestBytes> digest{};
  derive_key(header.hash, master_key.text(), header.digest_salt, header.digest_iterations, digest);
  return digest;
}

SecretBytes slot_key(const LuksHeader& header, std::size_t slot, std::string_view passphrase) {
  SecretBytes key(header.key_bytes());
  derive_key(header.hash, passphrase, header.slots[slot].salt, header.slots[slot].iterations, key.bytes());
  return key;
}

}  // namespace

Result<std::optional<SecretBytes>> open_slot(const LuksHeader& header, std::size_t slot, std::string_view passphrase,
                                             std::span<const std::byte> material) {
  const SecretBytes key = slot_key(header, slot, passphrase);
  TRY_ASSIGN(const std::unique_ptr<SectorCipher> cipher, SectorCipher::create(header.cipher, key.bytes()));
  SecretBytes split(material.size());
  memcpy(split.bytes().data(), material.data(), material.size());
  if (const IoResult decrypted = cipher->decrypt(0, split.bytes()); !decrypted) {
    return fail(Error::system("Could not decrypt a key slot", decrypted.error()));
  }
  SecretBytes master_key(header.key_bytes());
  merge_key(header.hash, split.bytes().first(header.split_key_bytes()), master_key.bytes());
  if (digest_of(header, master_key) != header.digest) return std::nullopt;
  return master_key;
}

Result<> seal_slot(LuksHeader& header, std::size_t slot, std::string_view passphrase, std::uint64_t iteration_time_ms,
                   std::span<const std::byte> master_key, std::span<std::byte> material) {
  LuksSlot& changed = header.slots[slot];
  TRY_ASSIGN(changed.iterations, iterations_for(header, header.key_bytes(), iteration_time_ms, 1));
  fill_nonce(changed.salt);
  changed.active = true;
  const SecretBytes key = slot_key(header, slot, passphrase);
  TRY_ASSIGN(const std::unique_ptr<SectorCipher> cipher, SectorCipher::create(header.cipher, key.bytes()));
  SecretBytes split(material.size());
  split_key(header.hash, master_key, split.bytes().first(header.split_key_bytes()));
  if (const IoResult encrypted = cipher->encrypt(0, split.bytes(), material); !encrypted) {
    return fail(Error::system("Could not encrypt a key slot", encrypted.error()));
  }
  return {};
}

Result<SecretBytes> make_master_key(LuksHeader& header, std::uint64_t iteration_time_ms) {
  SecretBytes master_key(header.key_bytes());
  fill_random(master_key.bytes());
  fill_nonce(header.digest_salt);
  // An eighth of the time, so that trying all slots costs little more than one.
  TRY_ASSIGN(header.digest_iterations, iterations_for(header, kLuksDigestBytes, iteration_time_ms, 8));
  header.digest = digest_of(header, master_key);
  return master_key;
}

}  // namespace blockexport::crypto
