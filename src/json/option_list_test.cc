#include "json/option_list.h"

#include <gtest/gtest.h>

namespace blockexport::json {
namespace {

// The options as "name=value;..." in order; flags are marked with '*', and a request for help adds a '?'.
std::string parsed(std::string_view text) {
  const OptionList list = parse_option_list(text, "backend");
  std::string shown;
  for (const Option& option : list.options) {
    shown += option.key + "=" + option.value + (option.short_form ? "*;" : ";");
  }
  return shown + (list.help ? "?" : "");
}

std::string note_of(std::string_view text) {
  return deprecation_note(parse_option_list(text, "").options.front());
}

TEST(OptionList, FirstValueMayBeImplied) {
  EXPECT_EQ(parsed("socket,id=a,path=s"), "backend=socket;id=a;path=s;");
  EXPECT_EQ(parsed("id=a,backend=null"), "id=a;backend=null;");
  EXPECT_EQ(parsed(",id=a"), "backend=;id=a;");
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parsed("help,id=a"), "backend=help;id=a;?");
}

TEST(OptionList, DoubledCommaIsAComma) {
  EXPECT_EQ(parsed("null,,x,path=a,,b"), "backend=null,x;path=a,b;");
  EXPECT_EQ(parsed("null,path=a,"), "backend=null;path=a;");
  EXPECT_EQ(parsed("null,path=a,,"), "backend=null;path=a,;");
}

TEST(OptionList, ValueMayHoldEqualsSigns) {
  EXPECT_EQ(parsed("socket,path=a=b,=x"), "backend=socket;path=a=b;=x;");
}

TEST(OptionList, FlagsAreOnOrOff) {
  EXPECT_EQ(parsed("socket,server,nowait,no,id"), "backend=socket;server=on*;wait=off*;=off*;id=on*;");
  EXPECT_EQ(parsed("id=a,null"), "id=a;null=on*;");
  EXPECT_EQ(parsed("socket,nodelay,delay"), "backend=socket;nodelay=on*;nodelay=off*;");
}

TEST(OptionList, FlagsHaveANoteInTwoLines) {
  EXPECT_EQ(note_of("nowait"), "short-form boolean option 'nowait' deprecated\nPlease use wait=off instead");
  EXPECT_EQ(note_of("server"), "short-form boolean option 'server' deprecated\nPlease use server=on instead");
  EXPECT_EQ(note_of("delay"), "short-form boolean option 'delay' deprecated\nPlease use nodelay=off instead");
  EXPECT_EQ(note_of("nodelay"), "short-form boolean option 'nodelay' deprecated\nPlease use nodelay=on instead");
}

TEST(OptionList, HelpEndsTheList) {
  EXPECT_EQ(parsed("socket,id=a,help,bogus"), "backend=socket;id=a;?");
  EXPECT_EQ(parsed("socket,?"), "backend=socket;?");
  EXPECT_EQ(parsed("null,help=on,nohelp,helpx,id=help"), "backend=null;help=on;help=off*;helpx=on*;id=help;");
}

TEST(OptionList, LastOneOfAKeyIsFound) {
  const OptionList list = parse_option_list("null,id=a,id=b", "backend");
  EXPECT_EQ(list.find("id")->value, "b");
  EXPECT_EQ(list.find("path"), nullptr);
}

}  // namespace
}  // namespace blockexport::json
