#include "json/qemu_opts.h"

#include <gtest/gtest.h>

namespace blockexport::json {
namespace {

// "name=value;..." in order; flags are marked with '*', a wish for help ends it with '?'.
std::string parsed(std::string_view text) {
  const QemuOpts opts = parse_qemu_opts(text, "backend");
  std::string shown;
  for (const QemuOpt& option : opts.options) {
    shown += option.name + "=" + option.value + (option.flag.empty() ? ";" : "*;");
  }
  return shown + (opts.help_wanted ? "?" : "");
}

std::string note_of(std::string_view text) {
  return deprecation_note(parse_qemu_opts(text, "").options.front());
}

TEST(QemuOpts, FirstValueMayBeImplied) {
  EXPECT_EQ(parsed("socket,id=a,path=s"), "backend=socket;id=a;path=s;");
  EXPECT_EQ(parsed("id=a,backend=null"), "id=a;backend=null;");
  EXPECT_EQ(parsed(",id=a"), "backend=;id=a;");
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parsed("help"), "backend=help;");
}

TEST(QemuOpts, DoubledCommaIsAComma) {
  EXPECT_EQ(parsed("null,,x,path=a,,b"), "backend=null,x;path=a,b;");
  EXPECT_EQ(parsed("null,path=a,"), "backend=null;path=a;");
  EXPECT_EQ(parsed("null,path=a,,"), "backend=null;path=a,;");
}

TEST(QemuOpts, ValueMayHoldEqualsSigns) {
  EXPECT_EQ(parsed("socket,path=a=b,=x"), "backend=socket;path=a=b;=x;");
}

TEST(QemuOpts, FlagsAreOnOrOff) {
  EXPECT_EQ(parsed("socket,server,nowait,no,id"), "backend=socket;server=on*;wait=off*;=off*;id=on*;");
  EXPECT_EQ(parsed("id=a,null"), "id=a;null=on*;");
  EXPECT_EQ(parsed("socket,nodelay,delay"), "backend=socket;nodelay=on*;nodelay=off*;");
}

TEST(QemuOpts, FlagsHaveANoteInTwoLines) {
  EXPECT_EQ(note_of("nowait"), "short-form boolean option 'nowait' deprecated\nPlease use wait=off instead");
  EXPECT_EQ(note_of("server"), "short-form boolean option 'server' deprecated\nPlease use server=on instead");
  EXPECT_EQ(note_of("delay"), "short-form boolean option 'delay' deprecated\nPlease use nodelay=off instead");
  EXPECT_EQ(note_of("server=on"), "");
}

TEST(QemuOpts, HelpEndsTheList) {
  EXPECT_EQ(parsed("socket,id=a,help,bogus"), "backend=socket;id=a;?");
  EXPECT_EQ(parsed("socket,?"), "backend=socket;?");
  EXPECT_EQ(parsed("null,help=on,nohelp,helpx,id=help"), "backend=null;help=on;help=off*;helpx=on*;id=help;");
}

TEST(QemuOpts, FirstAndLastOfANameAreFound) {
  const QemuOpts opts = parse_qemu_opts("null,id=a,id=b", "backend");
  EXPECT_EQ(*opts.first("id"), "a");
  EXPECT_EQ(*opts.last("id"), "b");
  EXPECT_EQ(opts.first("path"), nullptr);
}

}  // namespace
}  // namespace blockexport::json
