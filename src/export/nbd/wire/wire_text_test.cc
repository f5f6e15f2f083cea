#include "export/nbd/wire/wire_text.h"

#include <gtest/gtest.h>

namespace blockexport::nbd {
namespace {

using namespace std::string_literals;

TEST(WireText, R1_bytes_that_are_not_printable_utf8_become_question_marks) {
  const struct {
    std::string given;
    std::string shown;
  } cases[] = {
      {"plain %s", "plain %s"},
      {"a\0b"s, "a?b"},
      {"line\nend\x7f", "line?end?"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
      {"\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe"},
      {"\xff\xfe", "??"},
      {"\xc3", "?"},
      {"\xc0\xaf", "??"},            // not the shortest form
      {"\xed\xa0\x80", "???"},       // a surrogate
      {"\xf4\x90\x80\x80", "????"},  // past U+10FFFF
      {"\xc2\x85", "??"},            // a control character of two bytes
  };
  for (const auto& [given, shown] : cases) EXPECT_EQ(printable(given), shown);
}

TEST(WireText, R3_text_is_cut_between_characters) {
  EXPECT_EQ(printable(std::string(1000, 'x')).size(), kErrorTextBytesMax);
  EXPECT_EQ(printable("aaa\xc3\xbc", 4), "aaa");
}

TEST(WireText, LongNamesAreQuotedShort) {
  EXPECT_EQ(quoted_name(std::string(79, 'n')), std::string(79, 'n'));
  EXPECT_EQ(quoted_name(std::string(80, 'n')), std::string(80, 'n') + "...");
}

TEST(WireText, R2_wire_strings_are_short_utf8_without_nul) {
  EXPECT_TRUE(is_wire_string(""));
  EXPECT_TRUE(is_wire_string(std::string(4096, 'a')));
  EXPECT_FALSE(is_wire_string(std::string(4097, 'a')));
  EXPECT_FALSE(is_wire_string("a\0"s));
  EXPECT_FALSE(is_wire_string("\xff"));
}

}  // namespace
}  // namespace blockexport::nbd
