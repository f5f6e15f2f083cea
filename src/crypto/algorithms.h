// Names and sizes of the ciphers, modes and hash functions that encrypted images use.
//
// The enumerations have the order of those in schema/crypto.json, so that a value converts to that of the schema. Not
// every value is built: see is_built(). Plain values and pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace blockexport::crypto {

enum class CipherAlgorithm : std::uint8_t {
  kAes128,
  kAes192,
  kAes256,
  kDes,
  kTripleDes,
  kCast5,
  kSerpent128,
  kSerpent192,
  kSerpent256,
  kTwofish128,
  kTwofish192,
  kTwofish256,
  kSm4,
};

enum class CipherMode : std::uint8_t { kEcb, kCbc, kXts, kCtr };

// The way to make the initialization vector of a sector.
enum class IvGenerator : std::uint8_t {
  kPlain,    // the lower 32 bits of its number
  kPlain64,  // its number
  kEssiv,    // its number, encrypted with a hash of the key
};

enum class HashAlgorithm : std::uint8_t { kMd5, kSha1, kSha224, kSha256, kSha384, kSha512, kRipemd160, kSm3 };

// The encryption of the sectors of a disk.
struct CipherSpec {
  CipherAlgorithm algorithm = CipherAlgorithm::kAes256;
  CipherMode mode = CipherMode::kXts;
  IvGenerator iv = IvGenerator::kPlain64;
  // Used by kEssiv alone, which needs it. Other generators may have one, which stands in the header of an image.
  std::optional<HashAlgorithm> iv_hash = std::nullopt;

  friend bool operator==(const CipherSpec&, const CipherSpec&) = default;
};

// The names of the schema, as "aes-256".
std::string_view name_of(CipherAlgorithm algorithm);
std::string_view name_of(CipherMode mode);
std::string_view name_of(IvGenerator generator);
std::string_view name_of(HashAlgorithm hash);

std::optional<CipherMode> cipher_mode_named(std::string_view name);
std::optional<IvGenerator> iv_generator_named(std::string_view name);
std::optional<HashAlgorithm> hash_named(std::string_view name);

// The name of the cipher in a LUKS header, without the size of its key, as "aes".
std::string_view family_of(CipherAlgorithm algorithm);
// The cipher of a family that has keys of `key_bytes`, where XTS has two of them.
std::optional<CipherAlgorithm> cipher_of(std::string_view family, CipherMode mode, std::size_t key_bytes);
bool is_family(std::string_view family);

// Returns true if this program has the algorithm.
bool is_built(CipherAlgorithm algorithm);
bool is_built(HashAlgorithm hash);

// Bytes of the key of the algorithm alone.
std::size_t key_bytes_of(CipherAlgorithm algorithm);
// Bytes of the key of a disk: twice those for XTS.
std::size_t key_bytes_of(const CipherSpec& spec);
std::size_t digest_bytes_of(HashAlgorithm hash);

// The cipher that encrypts the numbers of sectors for ESSIV: one of the family of `spec` whose key is as long as a
// digest of the hash. The errors are for users.
Result<CipherAlgorithm> essiv_cipher(const CipherSpec& spec);

// Fails when this program cannot encrypt so. The errors are for users.
Result<> check_spec(const CipherSpec& spec);

}  // namespace blockexport::crypto
