#include "json/keyval.h"

#include <gtest/gtest.h>

#include "json/writer.h"

namespace blockexport::json {
namespace {

// The tree as JSON, or the error.
std::string parsed(std::string_view text) {
  auto result = parse_keyval(text, "driver");
  if (!result) return result.error().message();
  return (result->help ? "help " : "") + to_string(Value(result->options));
}

TEST(Keyval, BuildsTreesOfObjectsArraysAndStrings) {
  EXPECT_EQ(parsed("file,filename=a,,b,cache.direct=on"),
            R"({"driver": "file", "filename": "a,b", "cache": {"direct": "on"}})");
  EXPECT_EQ(parsed("driver=x,c.1.n=b,c.0.n=a"), R"({"driver": "x", "c": [{"n": "a"}, {"n": "b"}]})");
  EXPECT_EQ(parsed("driver=x,a=,"), R"({"driver": "x", "a": ""})");
  EXPECT_EQ(parsed("driver=x,a=1,a=2"), R"({"driver": "x", "a": "2"})");
  EXPECT_EQ(parsed(""), "{}");
}

TEST(Keyval, RefusesWhatQemuRefusesInTheSameWords) {
  EXPECT_EQ(parsed("a..b=1"), "Invalid parameter 'a..b'");
  EXPECT_EQ(parsed("a.b=1,a=2"), "Parameters 'a.*' used inconsistently");
  EXPECT_EQ(parsed("a=1,a.b=2"), "Parameters 'a.*' used inconsistently");
  EXPECT_EQ(parsed("driver=file,c.1.x=2"), "Parameter 'c.0' missing");
  EXPECT_EQ(parsed("driver=file,c.0=1,c.x=2"), "Parameters 'c.*' used inconsistently");
  EXPECT_EQ(parsed("=x"), "Invalid parameter ''");
  EXPECT_EQ(parsed(","), "Invalid parameter ''");
  EXPECT_EQ(parsed("driver=file,foo"), "Expected '=' after parameter 'foo'");
  EXPECT_EQ(parsed("driver=file,x.y"), "Expected '=' after parameter 'x.y'");
  EXPECT_EQ(parsed("driver=file,0.a=1"), "Invalid parameter '0.a'");
  EXPECT_EQ(parsed("driver=file,a b=1"), "Invalid parameter 'a b'");
  EXPECT_EQ(parsed("driver=file,__org.a=1"), "Invalid parameter '__org.a'");
  EXPECT_EQ(parsed("driver=file,a.99999999999=1"), "Parameter 'a.0' missing");
  std::string name(130, 'a');
  EXPECT_EQ(parsed("driver=file," + name + "=1"), "Parameter '" + name + "' is too long");
  EXPECT_EQ(parsed("driver=file,a." + name + "=1"), "Parameter fragment '" + name + "' is too long");
}

TEST(Keyval, NoticesCallsForHelp) {
  EXPECT_EQ(parsed("help"), "help {}");
  EXPECT_EQ(parsed("x=1,?"), R"(help {"x": "1"})");
}

}  // namespace
}  // namespace blockexport::json
