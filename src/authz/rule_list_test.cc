#include "authz/rule_list.h"

#include <gtest/gtest.h>

namespace blockexport::authz {
namespace {

TEST(GlobTest, StarStandsForAnyBytesAlsoCommasAndSlashes) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("*", "C=GB,O=a/b,CN=c"));
  EXPECT_TRUE(matches_glob("*CN=anna", "C=GB,O=x,CN=anna"));
  EXPECT_FALSE(matches_glob("*CN=anna", "C=GB,CN=annabel"));
  EXPECT_TRUE(matches_glob("C=*,CN=*", "C=GB,O=x,CN=anna"));
  EXPECT_TRUE(matches_glob("**a**", "a"));
  EXPECT_TRUE(matches_glob("*ab", "aab"));
}

TEST(GlobTest, QuestionMarkStandsForOneCharacter) {
  EXPECT_TRUE(matches_glob("client?", "client1"));
  EXPECT_FALSE(matches_glob("client?", "client"));
  EXPECT_FALSE(matches_glob("client?", "client12"));
  EXPECT_TRUE(matches_glob("M?ller", "M\u00fcller"));
  EXPECT_TRUE(matches_glob("?", "\U0001F600"));
  EXPECT_TRUE(matches_glob("a?c",
                           "a\xff"
                           "c"));
  EXPECT_TRUE(matches_glob("*?", "\u00fc"));
}

TEST(GlobTest, NothingElseIsSpecial) {
  EXPECT_FALSE(matches_glob("[ab]", "a"));
  EXPECT_TRUE(matches_glob("[ab]", "[ab]"));
  EXPECT_TRUE(matches_glob("\\*", "\\anything"));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_TRUE(matches_glob("", ""));
  EXPECT_FALSE(matches_glob("CN=anna", std::string_view("CN=anna\0x", 9)));
}

TEST(GlobTest, ManyStarsTakeNoLongerThanTheProductOfTheLengths) {
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "*a";
  pattern += "b";
  EXPECT_FALSE(matches_glob(pattern, std::string(kIdentityBytesMax, 'a')));
}

RuleList example() {
  return {.rules = {{.match = "CN=anna", .allows = true},
                    {.match = "CN=*", .allows = false, .format = Rule::Format::kGlob},
                    {.match = "CN=bob", .allows = true},
                    {.match = "O=*", .allows = true, .format = Rule::Format::kGlob}}};
}

TEST(RuleListTest, TheFirstRuleThatMatchesDecides) {
  EXPECT_TRUE(example().decide("CN=anna").allowed);
  Verdict bob = example().decide("CN=bob");
  EXPECT_FALSE(bob.allowed);
  EXPECT_EQ(bob.rule, "rules[1] (glob 'CN=*')");
  EXPECT_EQ(bob.reason, "the first rule that matches denies it");
  EXPECT_TRUE(example().decide("O=us").allowed);
}

TEST(RuleListTest, ExactRulesDoNotKnowPatterns) {
  RuleList list{.rules = {{.match = "CN=*", .allows = true}}};
  EXPECT_FALSE(list.decide("CN=anna").allowed);
  EXPECT_TRUE(list.decide("CN=*").allowed);
}

TEST(RuleListTest, ThePolicyDecidesAboutTheRest) {
  Verdict denied = RuleList{}.decide("CN=anna");
  EXPECT_FALSE(denied.allowed);
  EXPECT_EQ(denied.rule, "policy");
  EXPECT_TRUE((RuleList{.rules = {}, .allows_others = true}).decide("CN=anna").allowed);
}

TEST(RuleListTest, AnEndlessIdentityIsRefusedWhateverThePolicy) {
  RuleList list{.rules = {}, .allows_others = true};
  EXPECT_TRUE(list.decide(std::string(kIdentityBytesMax, 'x')).allowed);
  EXPECT_FALSE(list.decide(std::string(kIdentityBytesMax + 1, 'x')).allowed);
}

TEST(RuleListTest, WhatTheLogGetsIsPrintable) {
  RuleList list{.rules = {{.match = "a\nb", .allows = false}}};
  EXPECT_EQ(list.decide("a\nb").rule, "rules[0] (exact 'a\\x0ab')");
}

}  // namespace
}  // namespace blockexport::authz
