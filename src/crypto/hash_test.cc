#include "crypto/hash.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace blockexport::crypto {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

std::string derived(HashAlgorithm hash, std::string_view passphrase, std::string_view salt, std::uint32_t iterations,
                    std::size_t bytes) {
  std::vector<std::byte> key(bytes);
  derive_key(hash, passphrase, std::as_bytes(std::span(salt)), iterations, key);
  return hex(key);
}

std::string digest(HashAlgorithm hash, std::string_view text) {
  std::vector<std::byte> bytes(digest_bytes_of(hash));
  hash_bytes(hash, std::as_bytes(std::span(text)), bytes);
  return hex(bytes);
}

TEST(Hash, HasTheDigestsOfTheStandards) {
  EXPECT_EQ(digest(HashAlgorithm::kMd5, "abc"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(digest(HashAlgorithm::kSha1, "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(digest(HashAlgorithm::kSha224, "abc"), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
  EXPECT_EQ(digest(HashAlgorithm::kSha256, "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest(HashAlgorithm::kRipemd160, "abc"), "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
}

// RFC 6070.
TEST(Hash, DerivesKeysWithSha1AsTheRfcDoes) {
  EXPECT_EQ(derived(HashAlgorithm::kSha1, "password", "salt", 1, 20), "0c60c80f961f0e71f3a9b524af6012062fe037a6");
  EXPECT_EQ(derived(HashAlgorithm::kSha1, "password", "salt", 4096, 20), "4b007901b765489abead49d926f721d065a429c1");
  EXPECT_EQ(derived(HashAlgorithm::kSha1, "passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25),
            "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
}

// RFC 7914, section 11.
TEST(Hash, DerivesKeysWithSha256AsTheRfcDoes) {
  EXPECT_EQ(derived(HashAlgorithm::kSha256, "passwd", "salt", 1, 64),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
            "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}

// The value is that of another implementation.
TEST(Hash, DerivesKeysWithRipemd160) {
  EXPECT_EQ(derived(HashAlgorithm::kRipemd160, "password", "salt", 1, 20), "b725258b125e0bacb0e2307e34feb16a4d0d6aed");
}

TEST(Hash, MeasuresMoreThanNothing) {
  EXPECT_GT(iterations_per_second(HashAlgorithm::kSha256, 64), 1000u);
}

}  // namespace
}  // namespace blockexport::crypto
