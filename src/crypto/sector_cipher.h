// SectorCipher: encrypts and decrypts the sectors of a disk, of 512 bytes each, by their numbers.
//
// AES in the modes CBC and XTS uses GnuTLS, which has code for the instructions of processors; nettle does what GnuTLS
// lacks: Serpent, Twofish, ECB, and XTS with AES-192. Owned by whoever has the disk; the key is in SecretBytes and in
// the contexts of the libraries, which wipe them. Thread: any, several at once: each call uses a context of its own. It
// blocks for as long as the work takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/errno.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "crypto/algorithms.h"

namespace blockexport::crypto {

inline constexpr std::size_t kSectorBytes = 512;

class CipherContext;

class SectorCipher {
 public:
  // Contexts that are kept for later calls; a call that finds none makes one.
  static constexpr std::size_t kIdleContextsMax = 16;

  // `key` has key_bytes_of(spec) bytes. Fails as check_spec() does.
  static Result<std::unique_ptr<SectorCipher>> create(const CipherSpec& spec, std::span<const std::byte> key);
  ~SectorCipher();

  const CipherSpec& spec() const { return spec_; }

  // Encrypts `plain`, whole sectors from number `sector` on, to `encrypted`, which is as long. Both may be the same
  // memory, and otherwise do not overlap. ENOMEM, EIO.
  IoResult encrypt(std::uint64_t sector, std::span<const std::byte> plain, std::span<std::byte> encrypted);
  // Decrypts in place.
  IoResult decrypt(std::uint64_t sector, std::span<std::byte> bytes);

 private:
  SectorCipher(const CipherSpec& spec, SecretBytes key);
  std::unique_ptr<CipherContext> take();
  void give_back(std::unique_ptr<CipherContext> context);

  const CipherSpec spec_;
  const SecretBytes key_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<CipherContext>> idle_;  // guarded by mutex_
};

}  // namespace blockexport::crypto
