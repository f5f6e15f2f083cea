#include "crypto/sector_cipher.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace blockexport::crypto {
namespace {

using Bytes = std::vector<std::byte>;

Bytes unhex(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

Bytes counting(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

std::unique_ptr<SectorCipher> make(const CipherSpec& spec, const Bytes& key) {
  auto cipher = SectorCipher::create(spec, key);
  return cipher ? std::move(*cipher) : nullptr;
}

Bytes encrypted(SectorCipher& cipher, std::uint64_t sector, const Bytes& plain) {
  Bytes bytes(plain.size());
  EXPECT_TRUE(cipher.encrypt(sector, plain, bytes));
  return bytes;
}

// IEEE 1619-2007, annex B, vector 4.
TEST(SectorCipher, EncryptsWithAes128XtsAsTheStandardDoes) {
  auto cipher = make({.algorithm = CipherAlgorithm::kAes128},
                     unhex("2718281828459045235360287471352631415926535897932384626433832795"));
  const Bytes bytes = encrypted(*cipher, 0, counting(512));
  EXPECT_EQ(hex(std::span(bytes).first(32)), "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c");
}

// IEEE 1619-2007, annex B, vector 10.
TEST(SectorCipher, EncryptsWithAes256XtsAsTheStandardDoes) {
  auto cipher = make({.algorithm = CipherAlgorithm::kAes256},
                     unhex("2718281828459045235360287471352662497757247093699959574966967627"
                           "3141592653589793238462643383279502884197169399375105820974944592"));
  const Bytes bytes = encrypted(*cipher, 0xff, counting(512));
  EXPECT_EQ(hex(std::span(bytes).first(16)), "1c3b3a102f770386e4836c99e370cf9b");
}

// NIST SP 800-38A, F.2.5: the first block, of which the initialization vector is zero here.
TEST(SectorCipher, EncryptsTheFirstBlockOfCbcWithTheSectorNumber) {
  const Bytes key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
  auto cbc = make({.algorithm = CipherAlgorithm::kAes256, .mode = CipherMode::kCbc}, key);
  auto ecb = make({.algorithm = CipherAlgorithm::kAes256, .mode = CipherMode::kEcb}, key);
  Bytes plain = counting(512);
  const Bytes by_cbc = encrypted(*cbc, 0x0102030405060708, plain);
  const Bytes number = unhex("0807060504030201");
  for (std::size_t i = 0; i < number.size(); ++i) plain[i] ^= number[i];
  const Bytes by_ecb = encrypted(*ecb, 0, plain);
  EXPECT_EQ(hex(std::span(by_cbc).first(16)), hex(std::span(by_ecb).first(16)));
  plain = unhex("6bc1bee22e409f96e93d7e117393172a");
  plain.resize(512);
  const Bytes standard = encrypted(*ecb, 0, plain);
  EXPECT_EQ(hex(std::span(standard).first(16)), "f3eed1bdb5d2a03c064b5a7e3db181f8");
}

std::vector<CipherSpec> all_specs() {
  std::vector<CipherSpec> specs;
  for (const auto algorithm :
       {CipherAlgorithm::kAes128, CipherAlgorithm::kAes192, CipherAlgorithm::kAes256, CipherAlgorithm::kSerpent128,
        CipherAlgorithm::kSerpent192, CipherAlgorithm::kSerpent256, CipherAlgorithm::kTwofish128,
        CipherAlgorithm::kTwofish192, CipherAlgorithm::kTwofish256}) {
    for (const auto mode : {CipherMode::kEcb, CipherMode::kCbc, CipherMode::kXts}) {
      specs.push_back({algorithm, mode, IvGenerator::kPlain64});
      specs.push_back({algorithm, mode, IvGenerator::kPlain});
      specs.push_back({algorithm, mode, IvGenerator::kEssiv, HashAlgorithm::kSha256});
    }
  }
  return specs;
}

TEST(SectorCipher, DecryptsWhatItEncryptedInEveryMode) {
  for (const CipherSpec& spec : all_specs()) {
    auto cipher = make(spec, counting(key_bytes_of(spec)));
    ASSERT_NE(cipher, nullptr);
    const std::string shown = fmt::format("{} {} {}", name_of(spec.algorithm), name_of(spec.mode), name_of(spec.iv));
    const Bytes plain = counting(8 * 512);
    const Bytes apart = encrypted(*cipher, 1000, plain);
    EXPECT_NE(apart, plain) << shown;
    Bytes bytes = plain;
    ASSERT_TRUE(cipher->encrypt(1000, bytes, bytes));
    EXPECT_EQ(bytes, apart) << shown;
    // Any sector alone, by its number.
    const std::span<std::byte> third = std::span(bytes).subspan(1024, 512);
    ASSERT_TRUE(cipher->decrypt(1002, third));
    EXPECT_TRUE(std::ranges::equal(third, std::span(plain).subspan(1024, 512))) << shown;
    ASSERT_TRUE(cipher->encrypt(1002, third, third));
    ASSERT_TRUE(cipher->decrypt(1000, bytes));
    EXPECT_EQ(bytes, plain) << shown;
  }
}

TEST(SectorCipher, UsesTheLower32BitsOfTheNumberForPlain) {
  const Bytes key = counting(64);
  auto plain = make({.iv = IvGenerator::kPlain}, key);
  auto plain64 = make({.iv = IvGenerator::kPlain64}, key);
  const Bytes bytes = counting(512);
  const std::uint64_t high = std::uint64_t{5} << 32 | 77;
  EXPECT_EQ(encrypted(*plain, high, bytes), encrypted(*plain64, 77, bytes));
  EXPECT_NE(encrypted(*plain64, high, bytes), encrypted(*plain64, 77, bytes));
}

TEST(SectorCipher, RefusesWhatIsNotBuilt) {
  const auto message = [](const CipherSpec& spec) {
    const Bytes key(key_bytes_of(spec));
    const auto cipher = SectorCipher::create(spec, key);
    return cipher ? std::string() : cipher.error().message();
  };
  EXPECT_EQ(message({.algorithm = CipherAlgorithm::kDes, .mode = CipherMode::kCbc}), "Algorithm 'des' not supported");
  EXPECT_EQ(message({.mode = CipherMode::kCtr}), "Unsupported cipher mode ctr");
  EXPECT_EQ(message({.mode = CipherMode::kCbc, .iv = IvGenerator::kEssiv}), "Missing IV generator hash specification");
  EXPECT_EQ(message({.mode = CipherMode::kCbc, .iv = IvGenerator::kEssiv, .iv_hash = HashAlgorithm::kSha1}),
            "No AES cipher with key size 20 available");
}

TEST(SectorCipher, ServesSeveralThreads) {
  auto cipher = make({}, counting(64));
  const Bytes plain = counting(64 * 512);
  const Bytes expected = encrypted(*cipher, 0, plain);
  std::vector<int> wrong(4, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < wrong.size(); ++thread) {
      threads.emplace_back([&, thread] {
        for (int round = 0; round < 200; ++round) {
          Bytes bytes = expected;
          if (!cipher->decrypt(0, bytes) || bytes != plain) ++wrong[thread];
        }
      });
    }
  }
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace blockexport::crypto
