#include "json/keyval.h"

#include <gtest/gtest.h>

#include "json/writer.h"

namespace blockexport::json {
namespace {

// The parsed tree as JSON text, or "! MESSAGE" on an error.
std::string keyval(std::string_view text, std::string_view implied_key = "driver") {
  auto parsed = parse_keyval(text, implied_key);
  return parsed ? to_string(parsed->options) : "! " + parsed.error().message();
}

TEST(Keyval, PairsMakeATreeOfStrings) {
  EXPECT_EQ(keyval("driver=file,filename=x,file.driver=y,file.a-b.c_d=1"),
            R"({"driver": "file", "filename": "x", "file": {"driver": "y", "a-b": {"c_d": "1"}}})");
  EXPECT_EQ(keyval(""), "{}");
  EXPECT_EQ(keyval("__com.example_name=1"), R"({"__com.example_name": "1"})");
  EXPECT_EQ(keyval("a.__x.y_z.b=1"), R"({"a": {"__x.y_z": {"b": "1"}}})");
}

TEST(Keyval, FirstElementMayBeTheImpliedValue) {
  EXPECT_EQ(keyval("null-co,a=1"), R"({"driver": "null-co", "a": "1"})");
  EXPECT_EQ(keyval("null-co,"), R"({"driver": "null-co"})");
  EXPECT_EQ(keyval("a..b"), R"({"driver": "a..b"})");
  EXPECT_EQ(keyval("unix:/x", ""), "! Invalid parameter 'unix:/x'");
  EXPECT_EQ(keyval("x", ""), "! Expected '=' after parameter 'x'");
}

TEST(Keyval, DoubledCommaIsAComma) {
  EXPECT_EQ(keyval("a=1,,2,b=,,,c=,d=,,"), R"({"a": "1,2", "b": ",", "c": "", "d": ","})");
  EXPECT_EQ(keyval("a=b=c"), R"({"a": "b=c"})");
}

TEST(Keyval, LastValueOfAKeyWins) {
  EXPECT_EQ(keyval("null-co,driver=file,a.b=1,a.b=2"), R"({"driver": "file", "a": {"b": "2"}})");
}

TEST(Keyval, IndexesMakeLists) {
  EXPECT_EQ(keyval("a.1=y,a.0=x"), R"({"a": ["x", "y"]})");
  EXPECT_EQ(keyval("a.0.b=1,a.1.0=2,a.0.c=3"), R"({"a": [{"b": "1", "c": "3"}, ["2"]]})");
  EXPECT_EQ(keyval("a.01=y,a.0=x"), R"({"a": ["x", "y"]})");
  EXPECT_EQ(keyval("a.00=1,a.0=2"), R"({"a": ["2"]})");
}

TEST(Keyval, GapsInListsAreNamed) {
  EXPECT_EQ(keyval("a.1=1"), "! Parameter 'a.0' missing");
  EXPECT_EQ(keyval("a.0=1,a.2=1"), "! Parameter 'a.1' missing");
  EXPECT_EQ(keyval("a.99999999999999999999=1"), "! Parameter 'a.0' missing");
  EXPECT_EQ(keyval("a.b.1=1,a.0=2"), "! Parameter 'a.b.0' missing");
}

TEST(Keyval, OneKeyCannotBeTwoThings) {
  EXPECT_EQ(keyval("a=1,a.b=2"), "! Parameters 'a.*' used inconsistently");
  EXPECT_EQ(keyval("a=1,a.b"), "! Parameters 'a.*' used inconsistently");
  EXPECT_EQ(keyval("a.b=2,a=1"), "! Parameters 'a.*' used inconsistently");
  EXPECT_EQ(keyval("a.b.c=1,a.b=1"), "! Parameters 'a.b.*' used inconsistently");
  EXPECT_EQ(keyval("a.0=1,a.b=2"), "! Parameters 'a.*' used inconsistently");
  EXPECT_EQ(keyval("a.0.b=1,a.0.0=2"), "! Parameters 'a.0.*' used inconsistently");
  EXPECT_EQ(keyval("null-co,driver.a=1"), "! Parameters 'driver.*' used inconsistently");
}

TEST(Keyval, KeysThatAreNoneAreRefused) {
  for (std::string key : {"", "a..b", ".a", "a.", "0", "0.a", "a.-1", "a b", "1a", "__x", "_a", "__a.b.c", "__a_", "+a",
                          "a.0x1", "a.0b", "?", "\u00e9", " a"}) {
    EXPECT_EQ(keyval("null-co," + key + "=1"), "! Invalid parameter '" + key + "'");
  }
  EXPECT_EQ(keyval(","), "! Invalid parameter ''");
  EXPECT_EQ(keyval("null-co,,"), "! Invalid parameter ''");
  EXPECT_EQ(keyval("=x"), "! Invalid parameter ''");
}

TEST(Keyval, FragmentsHaveALimit) {
  const std::string longest(kKeyFragmentMax, 'a');
  EXPECT_EQ(keyval(longest + "=1"), "{\"" + longest + "\": \"1\"}");
  EXPECT_EQ(keyval(longest + "a=1"), "! Parameter '" + longest + "a' is too long");
  EXPECT_EQ(keyval("b." + longest + "a=1"), "! Parameter fragment '" + longest + "a' is too long");
  EXPECT_EQ(keyval(longest + "a.b=1"), "! Parameter fragment '" + longest + "a' is too long");
}

TEST(Keyval, DepthHasALimit) {
  std::string key = "a";
  for (std::size_t i = 1; i < kKeyFragmentsMax; ++i) key += ".a";
  EXPECT_TRUE(parse_keyval(key + "=1").has_value());
  EXPECT_EQ(keyval(key + ".a=1"), "! Parameter '" + key + ".a' has too many fragments");
}

TEST(Keyval, HelpIsAskedForByABareWord) {
  for (std::string_view text : {"help", "?", "null-co,help", "null-co,?", "a=1,help", "foo..bar,help", "a.1=1,help"}) {
    auto parsed = parse_keyval(text, "driver");
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_TRUE(parsed->help) << text;
  }
  auto parsed = parse_keyval("secret,help", "qom-type");
  EXPECT_EQ(*parsed->options.find("qom-type")->as_string(), "secret");
  EXPECT_TRUE(parse_keyval("help", "")->help);
}

TEST(Keyval, HelpAsAKeyOrAValueIsNothingSpecial) {
  EXPECT_EQ(keyval("driver=help,help=on"), R"({"driver": "help", "help": "on"})");
  EXPECT_FALSE(parse_keyval("driver=help", "driver")->help);
  EXPECT_EQ(keyval("null-co,help,foo"), "! Expected '=' after parameter 'foo'");
  EXPECT_EQ(keyval("null-co,a.help"), "! Expected '=' after parameter 'a.help'");
}

}  // namespace
}  // namespace blockexport::json
