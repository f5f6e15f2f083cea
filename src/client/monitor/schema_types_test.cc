#include "client/monitor/schema_types.h"

#include <gtest/gtest.h>

#include "json/keyval.h"
#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::monitor {
namespace {

constexpr char kSchema[] = R"([
  {"name": "add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
  {"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
  {"name": "broken", "meta-type": "command", "arg-type": "99", "ret-type": "0"},
  {"name": "loop", "meta-type": "command", "arg-type": "8", "ret-type": "0"},
  {"name": "0", "meta-type": "object", "members": []},
  {"name": "1", "meta-type": "object", "tag": "driver",
   "members": [{"name": "driver", "type": "2"}, {"name": "size", "type": "int"},
               {"name": "ro", "type": "bool", "default": null}, {"name": "share", "type": "num", "default": null},
               {"name": "names", "type": "4", "default": null}, {"name": "label", "type": "str", "default": null}],
   "variants": [{"case": "file", "type": "3"}, {"case": "raw", "type": "0"}]},
  {"name": "2", "meta-type": "enum", "members": [{"name": "file"}, {"name": "raw"}]},
  {"name": "3", "meta-type": "object", "members": [{"name": "child", "type": "5"}, {"name": "lines", "type": "6"}]},
  {"name": "4", "meta-type": "array", "element-type": "int"},
  {"name": "5", "meta-type": "alternate", "members": [{"type": "1"}, {"type": "str"}]},
  {"name": "6", "meta-type": "alternate", "members": [{"type": "int"}, {"type": "null"}]},
  {"name": "7", "meta-type": "alternate", "members": [{"type": "7"}]},
  {"name": "8", "meta-type": "object", "members": [{"name": "x", "type": "7"}]},
  {"name": "int", "meta-type": "builtin", "json-type": "int"},
  {"name": "num", "meta-type": "builtin", "json-type": "number"},
  {"name": "bool", "meta-type": "builtin", "json-type": "boolean"},
  {"name": "null", "meta-type": "builtin", "json-type": "null"},
  {"name": "str", "meta-type": "builtin", "json-type": "string"}])";

class SchemaTypesTest : public testing::Test {
 protected:
  // The arguments as JSON, or the error.
  std::string arguments(std::string_view command, std::string_view words) {
    const auto parsed = json::parse_keyval(words);
    EXPECT_TRUE(parsed);
    const auto typed = SchemaTypes(schema_).arguments_of(command, parsed->options);
    if (!typed) return typed.error().message() + (typed.error().hint().empty() ? "" : " ") + typed.error().hint();
    return json::to_string(json::Value(*typed));
  }

  json::Value schema_ = *json::parse(kSchema);
};

TEST_F(SchemaTypesTest, WordsBecomeValuesOfTheirTypes) {
  EXPECT_EQ(arguments("add", "driver=raw,size=12,ro=on,share=0.5,label=7"),
            R"({"driver": "raw", "size": 12, "ro": true, "share": 0.5, "label": "7"})");
  EXPECT_EQ(arguments("add", "size=64k,ro=off"), R"({"size": 65536, "ro": false})");
  EXPECT_EQ(arguments("add", "size=-3"), R"({"size": -3})");
  EXPECT_EQ(arguments("add", "size=18446744073709551615"), R"({"size": 18446744073709551615})");
  EXPECT_EQ(arguments("add", "names.0=1,names.1=2"), R"({"names": [1, 2]})");
}

TEST_F(SchemaTypesTest, MembersOfTheChosenBranchHaveTheirTypes) {
  EXPECT_EQ(arguments("add", "driver=file,child.driver=raw,child.size=1M,lines=4"),
            R"({"driver": "file", "child": {"driver": "raw", "size": 1048576}, "lines": 4})");
  EXPECT_EQ(arguments("add", "driver=file,child=12"), R"({"driver": "file", "child": "12"})");
}

TEST_F(SchemaTypesTest, WhatTheCommandLacksIsLeftToTheDaemon) {
  EXPECT_EQ(arguments("stop", "force=on"), R"({"force": "on"})");
  EXPECT_EQ(arguments("add", "driver=raw,child=5"), R"({"driver": "raw", "child": "5"})");
}

TEST_F(SchemaTypesTest, WrongValuesAreRefusedWithTheirNames) {
  EXPECT_EQ(arguments("add", "size=big"), "size: 'big' is no integer");
  EXPECT_EQ(arguments("add", "size=16E"), "size: '16E' is no integer");
  EXPECT_EQ(arguments("add", "ro=maybe"), "ro: 'maybe' is neither on nor off");
  EXPECT_EQ(arguments("add", "share=x"), "share: 'x' is no number");
  EXPECT_EQ(arguments("add", "names=1"), "names is a list: write names.0=..., names.1=...");
  EXPECT_EQ(arguments("add", "names.0=x"), "names.0: 'x' is no integer");
  EXPECT_EQ(arguments("add", "size.a=1"), "size has no members");
  EXPECT_EQ(arguments("add", "driver=file,child.size=x"), "child.size: 'x' is no integer");
  EXPECT_EQ(arguments("ad", ""), "The daemon has no command 'ad' Did you mean 'add'?");
  EXPECT_EQ(arguments("1", ""), "The daemon has no command '1'");
}

TEST_F(SchemaTypesTest, AnySchemaIsTaken) {
  EXPECT_EQ(arguments("broken", "a=1"), "The daemon's schema lacks the arguments of the command");
  EXPECT_EQ(arguments("loop", "x=1"), "The daemon's schema cannot be understood");
  EXPECT_EQ(arguments("loop", "x.y=1"), R"({"x": {"y": "1"}})");
  const json::Value number(5);
  EXPECT_FALSE(SchemaTypes(number).describe("add"));
}

TEST_F(SchemaTypesTest, ACommandIsDescribed) {
  EXPECT_EQ(*SchemaTypes(schema_).describe("add"),
            "  driver=file|raw\n  size=int\n  [ro]=boolean\n  [share]=number\n  [names]=list of int\n  [label]=string\n"
            "with driver=file:\n  child=object or string\n  lines=int or null\n");
  EXPECT_EQ(*SchemaTypes(schema_).describe("stop"), "  no arguments\n");
}

}  // namespace
}  // namespace blockexport::monitor
