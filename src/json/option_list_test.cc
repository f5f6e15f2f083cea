#include "json/option_list.h"

#include <gtest/gtest.h>

namespace blockexport::json {
namespace {

std::string shown(std::string_view text) {
  std::string out;
  for (const Option& option : parse_option_list(text, "backend").options) {
    out += option.key + "=" + option.value + (option.short_form ? "!" : "") + ";";
  }
  return out;
}

TEST(OptionList, ReadsPairsFlagsAndTheImpliedKey) {
  EXPECT_EQ(shown("socket,id=c,path=/a,,b,server,nowait"), "backend=socket;id=c;path=/a,b;server=on!;wait=off!;");
  EXPECT_EQ(shown("id=a,backend=null"), "id=a;backend=null;");
}

TEST(OptionList, LastOneOfAKeyWins) {
  OptionList list = parse_option_list("null,id=a,id=b", "backend");
  ASSERT_NE(list.find("id"), nullptr);
  EXPECT_EQ(list.find("id")->value, "b");
  EXPECT_EQ(list.find("path"), nullptr);
}

TEST(OptionList, NoticesCallsForHelp) {
  EXPECT_TRUE(parse_option_list("help", "backend").help);
  EXPECT_TRUE(parse_option_list("socket,help", "backend").help);
  EXPECT_FALSE(parse_option_list("socket", "backend").help);
}

}  // namespace
}  // namespace blockexport::json
