#include "control/objects/secret_decoding.h"

#include <gtest/gtest.h>

namespace blockexport::control {
namespace {

constexpr std::string_view kKey = "12345678901234567890123456789012";
constexpr const char* kIv = "MTIzNDU2Nzg5MDEyMzQ1Ng==";

std::string error_of(std::string_view written, SecretFormat format, std::optional<SecretCipher> cipher) {
  auto decoded = decode_secret(written, format, cipher);
  return decoded ? "" : decoded.error().message();
}

TEST(SecretDecoding, RawIsNotChanged) {
  EXPECT_EQ(decode_secret("pass word\n", SecretFormat::kRaw, {})->text(), "pass word\n");
  EXPECT_TRUE(decode_secret("", SecretFormat::kRaw, {})->empty());
}

TEST(SecretDecoding, Base64IsDecoded) {
  EXPECT_EQ(decode_secret("Z2VoZWlt", SecretFormat::kBase64, {})->text(), "geheim");
  EXPECT_EQ(error_of("ab!d", SecretFormat::kBase64, {}), "Base64 data contains invalid characters");
}

// printf geheim | openssl enc -aes-256-cbc -K <hex of the key> -iv <hex of "1234567890123456"> -base64
TEST(SecretDecoding, EncryptedDataAreDecrypted) {
  auto decoded = decode_secret("obitvQCEcbVIYUdfHn5LEQ==", SecretFormat::kBase64, SecretCipher{.key = kKey, .iv = kIv});
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(decoded->text(), "geheim");
}

TEST(SecretDecoding, EveryPartOfACipherIsChecked) {
  const SecretCipher good{.key = kKey, .iv = kIv};
  EXPECT_EQ(error_of("abc", SecretFormat::kRaw, SecretCipher{.key = "short", .iv = kIv}),
            "Key should be 32 bytes in length");
  EXPECT_EQ(error_of("abc", SecretFormat::kRaw, SecretCipher{.key = kKey, .iv = {}}),
            "IV is required to decrypt secret");
  EXPECT_EQ(error_of("abc", SecretFormat::kRaw, SecretCipher{.key = kKey, .iv = "YWI="}),
            "IV should be 16 bytes in length not 2");
  EXPECT_EQ(error_of("abc", SecretFormat::kRaw, SecretCipher{.key = kKey, .iv = "*"}),
            "Base64 data contains invalid characters");
  EXPECT_EQ(error_of("abc", SecretFormat::kRaw, good), "Length 3 must be a multiple of block size 16");
  EXPECT_EQ(error_of("1234567890123456", SecretFormat::kRaw, good),
            "Incorrect number of padding bytes (234) found on decrypted data");
  EXPECT_EQ(error_of("", SecretFormat::kRaw, good), "Incorrect number of padding bytes (0) found on decrypted data");
}

}  // namespace
}  // namespace blockexport::control
