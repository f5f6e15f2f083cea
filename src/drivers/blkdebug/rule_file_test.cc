#include "drivers/blkdebug/rule_file.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

using block::DebugEvent;

std::string error_of(std::string_view text) {
  auto rules = parse_rules(text);
  return rules ? "" : rules.error().message();
}

TEST(RuleFileTest, SectionsAreRules) {
  auto rules = parse_rules(R"(# a comment

[inject-error]
event = "l2_update"
state = "2"
iotype = "write"
errno = "28"
delay-ns = "7"
sector = "0x10"
once = "on"
immediately = "off"
[set-state "first"]
  event   =   "read_aio"
new_state = "-3"
[inject-error]
event = "none"
)");
  ASSERT_TRUE(rules) << rules.error().message();
  const std::vector<InjectErrorRule> errors = {{.event = DebugEvent::kL2Update,
                                                .state = 2,
                                                .kind = RequestKind::kWrite,
                                                .error = 28,
                                                .delay_ns = 7,
                                                .sector = 16,
                                                .once = true},
                                               {}};
  EXPECT_EQ(rules->errors, errors);
  const std::vector<SetStateRule> states = {{.event = DebugEvent::kReadAio, .new_state = -3}};
  EXPECT_EQ(rules->states, states);
}

TEST(RuleFileTest, AnEmptyFileHasNoRules) {
  auto rules = parse_rules("");
  ASSERT_TRUE(rules);
  EXPECT_TRUE(rules->empty());
}

TEST(RuleFileTest, ErrorsAreThoseOfQemuStorageDaemon) {
  EXPECT_EQ(error_of("foo\n"), "no group defined");
  EXPECT_EQ(error_of("event = \"none\"\n"), "no group defined");
  EXPECT_EQ(error_of("  [inject-error]\n"), "no group defined");
  EXPECT_EQ(error_of("[foo]\n"), "There is no option group 'foo'");
  EXPECT_EQ(error_of("[inject-error]\n"), "Missing event name for rule");
  EXPECT_EQ(error_of("[inject-error] \n"), "Missing event name for rule");
  EXPECT_EQ(error_of("[inject-error]\nevent = \"bad\"\n"), "invalid parameter value: bad");
  EXPECT_EQ(error_of("[inject-error]\nevent = none\n"), "invalid parameter value: ");
  EXPECT_EQ(error_of("[inject-error]\nevent = \"none\"\niotype = \"bad\"\n"), "invalid parameter value: bad");
  EXPECT_EQ(error_of("[inject-error]\nerrno = \"x\"\n"), "Parameter 'errno' expects a number");
  EXPECT_EQ(error_of("[inject-error]\nonce = \"maybe\"\n"), "Parameter 'once' expects 'on' or 'off'");
  EXPECT_EQ(error_of("[set-state]\nfoo = \"2\"\n"), "Invalid parameter 'foo'");
  EXPECT_EQ(error_of("[set-state]\nerrno = \"2\"\n"), "Invalid parameter 'errno'");
  EXPECT_EQ(error_of("[inject-error]\nevent=\"none\"\n"), "Invalid parameter 'event=\"none\"'");
  EXPECT_EQ(error_of("[inject-error \"a\"]\nevent = \"none\"\n[inject-error \"a\"]\n"),
            "Duplicate ID 'a' for inject-error");
  EXPECT_EQ(error_of("[set-state \"a\"]\nevent = \"none\"\n[inject-error \"a\"]\nevent = \"none\"\n"), "");
}

TEST(RuleFileTest, NumbersHaveRanges) {
  EXPECT_EQ(error_of("[inject-error]\nevent = \"none\"\nerrno = \"4096\"\n"),
            "Parameter 'errno' expects a value from 0 to 4095");
  EXPECT_EQ(error_of("[inject-error]\nevent = \"none\"\nerrno = \"-1\"\n"),
            "Parameter 'errno' expects a value from 0 to 4095");
  EXPECT_EQ(error_of("[inject-error]\nevent = \"none\"\ndelay-ns = \"3600000000001\"\n"),
            "Parameter 'delay-ns' expects a value from 0 to 3600000000000");
}

TEST(RuleFileTest, WordsValuesAndRulesAreLimited) {
  const std::string word(kRuleWordBytesMax + 1, 'a');
  EXPECT_EQ(error_of("[" + word + "]\n"), "parse error");
  EXPECT_EQ(error_of("[set-state \"" + word + "\"]\n"), "parse error");
  EXPECT_EQ(error_of("[set-state]\n" + word + " = \"1\"\n"), "Invalid parameter '" + word.substr(1) + "'");
  EXPECT_EQ(error_of("[set-state]\nevent = \"" + std::string(kRuleValueBytesMax + 1, 'a') + "\"\n"), "parse error");
  std::string many;
  for (std::size_t i = 0; i < kFaultRulesMax + 1; ++i) many += "[set-state]\nevent = \"none\"\n";
  EXPECT_EQ(error_of(many), "There are more than 1024 rules");
}

}  // namespace
}  // namespace blockexport::drivers
