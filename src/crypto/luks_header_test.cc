#include "crypto/luks_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace blockexport::crypto {
namespace {

using Bytes = std::vector<std::byte>;

LuksHeader sample(CipherSpec cipher = {}) {
  LuksHeader header = *make_luks_header(cipher, HashAlgorithm::kSha256, LuksPlacement::kBeforeData);
  header.digest_iterations = 1000;
  header.uuid = "3a2c64b0-0b6f-4b1c-8a57-6b7f7f9e7b1a";
  header.slots[0].active = true;
  header.slots[0].iterations = 2000;
  header.slots[0].salt[3] = std::byte{5};
  return header;
}

std::string refusal(const Bytes& bytes, LuksPlacement placement = LuksPlacement::kBeforeData) {
  const auto parsed = parse_luks_header(bytes, placement);
  return parsed ? std::string() : parsed.error().message();
}

// The refusal of the sample with `text` at `offset`.
std::string refusal_with(std::size_t offset, std::string_view text) {
  Bytes bytes = encode_luks_header(sample());
  std::memcpy(bytes.data() + offset, text.data(), text.size());
  return refusal(bytes);
}

std::string u32(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

constexpr std::size_t kCipherName = 8;
constexpr std::size_t kCipherMode = 40;
constexpr std::size_t kHashName = 72;
constexpr std::size_t kPayload = 104;
constexpr std::size_t kKeyBytes = 108;
constexpr std::size_t kDigestIterations = 164;
constexpr std::size_t kSlots = 208;
constexpr std::size_t kSlotBytes = 48;

TEST(LuksHeader, IsTheSameAfterEncodingAndParsing) {
  for (const CipherSpec& cipher :
       {CipherSpec{}, CipherSpec{CipherAlgorithm::kSerpent192, CipherMode::kCbc, IvGenerator::kPlain},
        CipherSpec{CipherAlgorithm::kTwofish256, CipherMode::kCbc, IvGenerator::kEssiv, HashAlgorithm::kSha256},
        CipherSpec{CipherAlgorithm::kAes128, CipherMode::kXts, IvGenerator::kPlain64, HashAlgorithm::kSha1}}) {
    const LuksHeader header = sample(cipher);
    const auto parsed = parse_luks_header(encode_luks_header(header), LuksPlacement::kBeforeData);
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(*parsed, header);
  }
}

TEST(LuksHeader, HasThePlacesOfTheReference) {
  const LuksHeader header = sample();
  EXPECT_EQ(header.payload_offset(), 2068480u);
  EXPECT_EQ(header.material_offset(1), 4096u + 258048u);
  EXPECT_EQ(luks_header_area_bytes(header), 2068480u);
}

TEST(LuksHeader, RefusesAsTheReferenceDoes) {
  EXPECT_EQ(refusal_with(0, "X"), "Volume is not in LUKS format");
  EXPECT_EQ(refusal_with(6, std::string("\0\2", 2)), "LUKS version 2 is not supported");
  EXPECT_EQ(refusal_with(kCipherName, std::string(32, 'a')), "LUKS header cipher name is not NUL terminated");
  EXPECT_EQ(refusal_with(kCipherMode, std::string(32, 'a')), "LUKS header cipher mode is not NUL terminated");
  EXPECT_EQ(refusal_with(kHashName, std::string(32, 'a')), "LUKS header hash spec is not NUL terminated");
  EXPECT_EQ(refusal_with(kPayload, u32(7)), "LUKS payload is overlapping with the header");
  EXPECT_EQ(refusal_with(kDigestIterations, u32(0)), "LUKS key iteration count is zero");
  EXPECT_EQ(refusal_with(kSlots + 44, u32(3999)), "Keyslot 0 is corrupted (stripes 3999 != 4000)");
  EXPECT_EQ(refusal_with(kSlots + 40, u32(4)), "Keyslot 0 is overlapping with the LUKS header");
  EXPECT_EQ(refusal_with(kSlots + kSlotBytes, u32(1)), "Keyslot 1 state (active/disable) is corrupted");
  EXPECT_EQ(refusal_with(kSlots + 4, u32(0)), "Keyslot 0 iteration count is zero");
  EXPECT_EQ(refusal_with(kPayload, u32(500)), "Keyslot 0 is overlapping with the encrypted payload");
  EXPECT_EQ(refusal_with(kSlots + kSlotBytes + 40, u32(12)), "Keyslots 0 and 1 are overlapping in the header");
  EXPECT_EQ(refusal_with(kCipherMode, std::string("xts\0", 4)), "Unexpected cipher mode string format 'xts'");
  EXPECT_EQ(refusal_with(kCipherMode, std::string("abc-plain64\0", 12)), "Cipher mode 'abc' is not supported");
  EXPECT_EQ(refusal_with(kCipherMode, std::string("xts-wide\0", 9)), "IV generator 'wide' is not supported");
  EXPECT_EQ(refusal_with(kCipherName, std::string("abc\0", 4)), "Algorithm 'abc' not supported");
  EXPECT_EQ(refusal_with(kHashName, std::string("abc\0", 4)), "Hash algorithm 'abc' is not supported");
  EXPECT_EQ(refusal_with(kKeyBytes, u32(60)), "Algorithm 'aes' with key size 60 bytes not supported");
}

TEST(LuksHeader, BoundsTheIterations) {
  EXPECT_EQ(refusal_with(kDigestIterations, u32(kLuksIterationsMax + 1)),
            "PBKDF iterations 67108865 larger than 67108864");
  EXPECT_EQ(refusal_with(kSlots + 4, u32(UINT32_MAX)), "PBKDF iterations 4294967295 larger than 67108864");
  EXPECT_EQ(refusal_with(kSlots + 4, u32(kLuksIterationsMax)), "");
  LuksHeader header = sample();
  for (LuksSlot& slot : header.slots) {
    slot.active = true;
    slot.iterations = kLuksIterationsMax;
  }
  EXPECT_EQ(refusal(encode_luks_header(header)), "PBKDF iterations 536870912 larger than 134217728");
}

TEST(LuksHeader, MayHaveNoPayloadBehindItWhenItIsDetached) {
  LuksHeader header = sample();
  header.payload_sector = 0;
  EXPECT_EQ(refusal(encode_luks_header(header)), "LUKS payload is overlapping with the header");
  EXPECT_EQ(refusal(encode_luks_header(header), LuksPlacement::kDetached), "");
}

TEST(LuksHeader, TakesAnyBytes) {
  std::minstd_rand random(14);
  const Bytes valid = encode_luks_header(sample());
  unsigned accepted = 0;
  for (int round = 0; round < 10000; ++round) {
    Bytes bytes = valid;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    bytes.resize(random() % 8 == 0 ? random() % bytes.size() : bytes.size());
    const auto parsed = parse_luks_header(bytes, LuksPlacement::kBeforeData);
    if (!parsed) {
      EXPECT_FALSE(parsed.error().message().empty());
      continue;
    }
    ++accepted;
    EXPECT_LE(parsed->key_bytes(), 64u);
    EXPECT_GE(parsed->payload_offset(), luks_header_area_bytes(*parsed));
    EXPECT_TRUE(check_luks_iterations(*parsed));
    EXPECT_EQ(parse_luks_header(encode_luks_header(*parsed), LuksPlacement::kBeforeData).value(), *parsed);
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace blockexport::crypto
