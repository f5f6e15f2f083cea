#include "base/base64.h"

#include <gtest/gtest.h>

namespace blockexport {
namespace {

TEST(Base64, GivesTheBytes) {
  for (auto [text, bytes] :
       {std::pair("", ""), std::pair("Zg==", "f"), std::pair("Zm8=", "fo"), std::pair("Zm9v", "foo"),
        std::pair("Zm9vYmFy", "foobar"), std::pair("+/+/", "\xfb\xff\xbf")}) {
    auto decoded = decode_base64(text);
    ASSERT_TRUE(decoded) << text;
    EXPECT_EQ(decoded->text(), bytes);
  }
}

TEST(Base64, LineEndsAndMissingPaddingAreFine) {
  EXPECT_EQ(decode_base64("Zm9v\nYmE\r\n")->text(), "fooba");
  EXPECT_EQ(decode_base64("Zg")->text(), "f");
}

TEST(Base64, PiecesMayFollowEachOther) {
  EXPECT_EQ(decode_base64("Zg==Zg==")->text(), "ff");
  EXPECT_EQ(decode_base64("Zm8=\nZm9vYg==")->text(), "fofoob");
  EXPECT_EQ(decode_base64("Zg==Zm9v")->text(), "ffoo");
}

TEST(Base64, NothingElseIs) {
  for (const char* text : {"Zm9!", "Zm 9v", "Zg=Zg==", "=Zg=", "Zm9v=Zm9", "Zm9v-", "\x80"})
    EXPECT_FALSE(decode_base64(text)) << text;
}

}  // namespace
}  // namespace blockexport
