#include "crypto/algorithms.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace blockexport::crypto {
namespace {

struct Cipher {
  std::string_view name;
  std::string_view family;
  std::uint8_t key_bytes;
  bool is_built;
};

constexpr std::array kCiphers = {
    Cipher{"aes-128", "aes", 16, true},
    Cipher{"aes-192", "aes", 24, true},
    Cipher{"aes-256", "aes", 32, true},
    Cipher{"des", "des", 8, false},
    Cipher{"3des", "3des", 24, false},
    Cipher{"cast5-128", "cast5", 16, false},
    Cipher{"serpent-128", "serpent", 16, true},
    Cipher{"serpent-192", "serpent", 24, true},
    Cipher{"serpent-256", "serpent", 32, true},
    Cipher{"twofish-128", "twofish", 16, true},
    Cipher{"twofish-192", "twofish", 24, true},
    Cipher{"twofish-256", "twofish", 32, true},
    Cipher{"sm4", "sm4", 16, false},
};

constexpr std::array<std::string_view, 4> kModes = {"ecb", "cbc", "xts", "ctr"};
constexpr std::array<std::string_view, 3> kGenerators = {"plain", "plain64", "essiv"};

struct Hash {
  std::string_view name;
  std::uint8_t digest_bytes;
  bool is_built;
};

constexpr std::array kHashes = {
    Hash{"md5", 16, true},    Hash{"sha1", 20, true},   Hash{"sha224", 28, true},    Hash{"sha256", 32, true},
    Hash{"sha384", 48, true}, Hash{"sha512", 64, true}, Hash{"ripemd160", 20, true}, Hash{"sm3", 32, false},
};

const Cipher& entry_of(CipherAlgorithm algorithm) {
  return kCiphers[static_cast<std::size_t>(algorithm)];
}
const Hash& entry_of(HashAlgorithm hash) {
  return kHashes[static_cast<std::size_t>(hash)];
}

template <class Value, class Names>
std::optional<Value> find_name(const Names& names, std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Value>(found - names.begin());
}

std::string_view shown_family(std::string_view family) {
  if (family == "aes") return "AES";
  return family == "serpent" ? "Serpent" : "Twofish";
}

}  // namespace

std::string_view name_of(CipherAlgorithm algorithm) {
  return entry_of(algorithm).name;
}
std::string_view name_of(CipherMode mode) {
  return kModes[static_cast<std::size_t>(mode)];
}
std::string_view name_of(IvGenerator generator) {
  return kGenerators[static_cast<std::size_t>(generator)];
}
std::string_view name_of(HashAlgorithm hash) {
  return entry_of(hash).name;
}

std::optional<CipherMode> cipher_mode_named(std::string_view name) {
  return find_name<CipherMode>(kModes, name);
}
std::optional<IvGenerator> iv_generator_named(std::string_view name) {
  return find_name<IvGenerator>(kGenerators, name);
}
std::optional<HashAlgorithm> hash_named(std::string_view name) {
  for (std::size_t i = 0; i < kHashes.size(); ++i) {
    if (kHashes[i].name == name) return static_cast<HashAlgorithm>(i);
  }
  return std::nullopt;
}

std::string_view family_of(CipherAlgorithm algorithm) {
  return entry_of(algorithm).family;
}

std::optional<CipherAlgorithm> cipher_of(std::string_view family, CipherMode mode, std::size_t key_bytes) {
  if (mode == CipherMode::kXts) {
    if (key_bytes % 2 != 0) return std::nullopt;
    key_bytes /= 2;
  }
  for (std::size_t i = 0; i < kCiphers.size(); ++i) {
    if (kCiphers[i].family == family && kCiphers[i].key_bytes == key_bytes) return static_cast<CipherAlgorithm>(i);
  }
  return std::nullopt;
}

bool is_family(std::string_view family) {
  return family != "des" && family != "3des" && family != "sm4" &&
         std::ranges::any_of(kCiphers, [&](const Cipher& cipher) { return cipher.family == family; });
}

bool is_built(CipherAlgorithm algorithm) {
  return entry_of(algorithm).is_built;
}
bool is_built(HashAlgorithm hash) {
  return entry_of(hash).is_built;
}

std::size_t key_bytes_of(CipherAlgorithm algorithm) {
  return entry_of(algorithm).key_bytes;
}
std::size_t key_bytes_of(const CipherSpec& spec) {
  return key_bytes_of(spec.algorithm) * (spec.mode == CipherMode::kXts ? 2 : 1);
}
std::size_t digest_bytes_of(HashAlgorithm hash) {
  return entry_of(hash).digest_bytes;
}

Result<CipherAlgorithm> essiv_cipher(const CipherSpec& spec) {
  const std::string_view family = family_of(spec.algorithm);
  if (family != "aes" && family != "serpent" && family != "twofish") {
    return fail(fmt::format("Cipher {} not supported with essiv", name_of(spec.algorithm)));
  }
  if (!spec.iv_hash) return fail("Missing IV generator hash specification");
  const std::size_t key_bytes = digest_bytes_of(*spec.iv_hash);
  if (const auto found = cipher_of(family, CipherMode::kCbc, key_bytes)) return *found;
  return fail(fmt::format("No {} cipher with key size {} available", shown_family(family), key_bytes));
}

Result<> check_spec(const CipherSpec& spec) {
  if (!is_built(spec.algorithm)) return fail(fmt::format("Algorithm '{}' not supported", name_of(spec.algorithm)));
  if (spec.mode == CipherMode::kCtr) return fail(fmt::format("Unsupported cipher mode {}", name_of(spec.mode)));
  if (spec.iv == IvGenerator::kEssiv) {
    TRY(essiv_cipher(spec));
    if (!is_built(*spec.iv_hash)) return fail(fmt::format("Unsupported hash algorithm {}", name_of(*spec.iv_hash)));
  }
  return {};
}

}  // namespace blockexport::crypto
