#include "authz/rule_list.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace blockexport::authz {
namespace {

// A pattern, identities that it matches, and identities that it does not match.
struct GlobCase {
  std::string_view pattern;
  std::vector<std::string_view> matched = {};
  std::vector<std::string_view> others = {};
};

void check(const std::vector<GlobCase>& cases) {
  for (const GlobCase& one : cases) {
    for (std::string_view identity : one.matched) {
      EXPECT_TRUE(matches_glob(one.pattern, identity)) << one.pattern << " and " << identity;
    }
    for (std::string_view identity : one.others) {
      EXPECT_FALSE(matches_glob(one.pattern, identity)) << one.pattern << " and " << identity;
    }
  }
}

TEST(GlobTest, StarStandsForAnyBytesAlsoCommasAndSlashes) {
  check({{.pattern = "*", .matched = {"", "C=GB,O=a/b,CN=c"}},
         {.pattern = "*CN=anna", .matched = {"C=GB,O=x,CN=anna"}, .others = {"C=GB,CN=annabel"}},
         {.pattern = "C=*,CN=*", .matched = {"C=GB,O=x,CN=anna"}},
         {.pattern = "**a**", .matched = {"a"}},
         {.pattern = "*ab", .matched = {"aab"}}});
}

TEST(GlobTest, QuestionMarkStandsForOneCharacter) {
  check({{.pattern = "client?", .matched = {"client1"}, .others = {"client", "client12"}},
         {.pattern = "M?ller", .matched = {"M\u00fcller"}},
         {.pattern = "?", .matched = {"\U0001F600"}},
         {.pattern = "a?c",
          .matched = {"a\xff"
                      "c"}},
         {.pattern = "*?", .matched = {"\u00fc"}}});
}

TEST(GlobTest, NothingElseIsSpecial) {
  using std::string_view_literals::operator""sv;
  check({{.pattern = "[ab]", .matched = {"[ab]"}, .others = {"a"}},
         {.pattern = "\\*", .matched = {"\\anything"}},
         {.pattern = "", .matched = {""}, .others = {"a"}},
         {.pattern = "CN=anna", .others = {"CN=anna\0x"sv}}});
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
