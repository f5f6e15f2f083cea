#include "base/identifier.h"

#include <gtest/gtest.h>

#include <string>

namespace blockexport {
namespace {

TEST(IdentifierTest, BeginsWithALetter) {
  EXPECT_TRUE(is_identifier("a"));
  EXPECT_TRUE(is_identifier("Z"));
  for (std::string_view text : {"", "1", "-a", ".a", "_a", " a"}) EXPECT_FALSE(is_identifier(text)) << text;
}

TEST(IdentifierTest, GoesOnWithLettersDigitsAndThreeSigns) {
  EXPECT_TRUE(is_identifier("disk-0.Backing_file9"));
  const std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    EXPECT_EQ(is_identifier(std::string("a") + c), allowed.contains(c)) << byte;
  }
}

TEST(IdentifierTest, HasNoOtherCharacterAnywhere) {
  for (std::string_view text : {"a b", "a/b", "a:b", "a\n", "caf\xc3\xa9"}) EXPECT_FALSE(is_identifier(text)) << text;
  EXPECT_FALSE(is_identifier(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace blockexport
