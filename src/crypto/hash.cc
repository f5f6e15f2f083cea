#include "crypto/hash.h"

#include <gnutls/crypto.h>
#include <nettle/hmac.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>

namespace blockexport::crypto {
namespace {

using Ripemd160 = struct ripemd160_ctx;
using HmacRipemd160 = struct hmac_ripemd160_ctx;

gnutls_mac_algorithm_t mac_of(HashAlgorithm hash) {
  switch (hash) {
    case HashAlgorithm::kMd5:
      return GNUTLS_MAC_MD5;
    case HashAlgorithm::kSha1:
      return GNUTLS_MAC_SHA1;
    case HashAlgorithm::kSha224:
      return GNUTLS_MAC_SHA224;
    case HashAlgorithm::kSha256:
      return GNUTLS_MAC_SHA256;
    case HashAlgorithm::kSha384:
      return GNUTLS_MAC_SHA384;
    case HashAlgorithm::kSha512:
      return GNUTLS_MAC_SHA512;
    case HashAlgorithm::kRipemd160:
    case HashAlgorithm::kSm3:
      break;
  }
  return GNUTLS_MAC_UNKNOWN;
}

// A failure of the library is one of memory, or of a system that allows none of the functions.
void require(bool worked) {
  if (!worked) std::abort();
}

template <class Byte>
auto octets(std::span<Byte> bytes) {
  if constexpr (std::is_const_v<Byte>) {
    return reinterpret_cast<const std::uint8_t*>(bytes.data());
  } else {
    return reinterpret_cast<std::uint8_t*>(bytes.data());
  }
}

void hash_ripemd160(std::span<const std::byte> bytes, std::span<std::byte> digest) {
  Ripemd160 context;
  ripemd160_init(&context);
  ripemd160_update(&context, bytes.size(), octets(bytes));
  ripemd160_digest(&context, digest.size(), octets(digest));
  explicit_bzero(&context, sizeof context);
}

void derive_ripemd160(std::string_view passphrase, std::span<const std::byte> salt, std::uint32_t iterations,
                      std::span<std::byte> key) {
  HmacRipemd160 context;
  hmac_ripemd160_set_key(&context, passphrase.size(), reinterpret_cast<const std::uint8_t*>(passphrase.data()));
  const auto update = [](void* of, std::size_t length, const std::uint8_t* bytes) {
    hmac_ripemd160_update(static_cast<HmacRipemd160*>(of), length, bytes);
  };
  const auto digest = [](void* of, std::size_t length, std::uint8_t* bytes) {
    hmac_ripemd160_digest(static_cast<HmacRipemd160*>(of), length, bytes);
  };
  nettle_pbkdf2(&context, update, digest, RIPEMD160_DIGEST_SIZE, iterations, salt.size(), octets(salt), key.size(),
                octets(key));
  explicit_bzero(&context, sizeof context);
}

std::uint64_t thread_time_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

void hash_bytes(HashAlgorithm hash, std::span<const std::byte> bytes, std::span<std::byte> digest) {
  assert(is_built(hash) && digest.size() == digest_bytes_of(hash));
  if (hash == HashAlgorithm::kRipemd160) return hash_ripemd160(bytes, digest);
  require(gnutls_hash_fast(static_cast<gnutls_digest_algorithm_t>(mac_of(hash)), bytes.data(), bytes.size(),
                           digest.data()) == 0);
}

void derive_key(HashAlgorithm hash, std::string_view passphrase, std::span<const std::byte> salt,
                std::uint32_t iterations, std::span<std::byte> key) {
  assert(is_built(hash) && iterations > 0);
  if (hash == HashAlgorithm::kRipemd160) return derive_ripemd160(passphrase, salt, iterations, key);
  // GnuTLS changes none of them; its older interface lacks the const.
  const gnutls_datum_t secret = {reinterpret_cast<unsigned char*>(const_cast<char*>(passphrase.data())),
                                 static_cast<unsigned>(passphrase.size())};
  const gnutls_datum_t salt_bytes = {const_cast<unsigned char*>(octets(salt)), static_cast<unsigned>(salt.size())};
  require(gnutls_pbkdf2(mac_of(hash), &secret, &salt_bytes, iterations, key.data(), key.size()) == 0);
}

std::uint64_t iterations_per_second(HashAlgorithm hash, std::size_t key_bytes) {
  constexpr std::uint64_t kMeasuredNs = 50'000'000;
  constexpr std::uint32_t kLastIterations = 1u << 24;
  constexpr std::size_t kKeyBytes = 64;
  const std::array<std::byte, 32> salt{};
  std::array<std::byte, kKeyBytes> key{};
  const std::span<std::byte> used = std::span(key).first(std::clamp<std::size_t>(key_bytes, 1, kKeyBytes));
  for (std::uint32_t iterations = 1u << 12;; iterations *= 2) {
    const std::uint64_t begun_ns = thread_time_ns();
    derive_key(hash, "passphrase", salt, iterations, used);
    const std::uint64_t taken_ns = std::max<std::uint64_t>(1, thread_time_ns() - begun_ns);
    if (taken_ns >= kMeasuredNs || iterations >= kLastIterations) {
      return std::uint64_t{iterations} * 1'000'000'000 / taken_ns;
    }
  }
}

void fill_random(std::span<std::byte> bytes) {
  require(gnutls_rnd(GNUTLS_RND_KEY, bytes.data(), bytes.size()) == 0);
}

void fill_nonce(std::span<std::byte> bytes) {
  require(gnutls_rnd(GNUTLS_RND_NONCE, bytes.data(), bytes.size()) == 0);
}

}  // namespace blockexport::crypto
