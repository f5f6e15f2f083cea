#include <gtest/gtest.h>

#include <string>

#include "configuration/source_document.h"
#include "configuration/toml_dots.h"

namespace blockexport::configuration {
namespace {

std::string place_of(const SourceDocument& document, const std::string& path) {
  const auto found = document.positions.find(path);
  if (found == document.positions.end()) return "none";
  return std::to_string(found->second.line) + ":" + std::to_string(found->second.column);
}

std::string errors_of(const SourceDocument& document) {
  std::string text;
  for (const DocumentError& error : document.errors) {
    text += std::to_string(error.position.line) + ":" + std::to_string(error.position.column) + " " + error.message;
    if (error.other_position) text += " first " + std::to_string(error.other_position->line);
    text += "\n";
  }
  return text;
}

std::string key(std::initializer_list<std::string_view> names) {
  std::string path;
  for (std::string_view name : names) path = path_key(path, name);
  return path;
}

TEST(TomlDocument, ReadsEachKindOfValueWithItsPlace) {
  const SourceDocument document = parse_toml(
      "text = \"a\"\n"
      "number = 1_000\n"
      "part = 0.5\n"
      "truth = true\n"
      "list = [1,\n  2]\n"
      "[table.inner]\n"
      "cache.direct = true\n");
  EXPECT_EQ(errors_of(document), "");
  EXPECT_EQ(*document.root.find("text"), json::Value("a"));
  EXPECT_EQ(*document.root.find("number"), json::Value(1000));
  EXPECT_EQ(*document.root.find("part"), json::Value(0.5));
  EXPECT_EQ(*document.root.find("truth"), json::Value(true));
  EXPECT_EQ(*document.root.find("list"), json::Value(json::Array{1, 2}));
  const json::Value inner(json::Object{{"cache", json::Object{{"direct", true}}}});
  EXPECT_EQ(*document.root.find("table"), json::Value(json::Object{{"inner", inner}}));
  EXPECT_EQ(place_of(document, "number"), "2:1");
  EXPECT_EQ(place_of(document, key({"list", "1"})), "6:3");
  EXPECT_EQ(place_of(document, key({"table", "inner"})), "7:8");
  EXPECT_EQ(place_of(document, key({"table", "inner", "cache", "direct"})), "8:7");
}

TEST(TomlDocument, NamesTheLineOfAnError) {
  EXPECT_TRUE(errors_of(parse_toml("a = 1\nb = \n")).starts_with("2:")) << errors_of(parse_toml("a = 1\nb = \n"));
}

TEST(TomlDocument, NamesBothPlacesOfAKeyThatIsSetTwice) {
  EXPECT_NE(errors_of(parse_toml("[a]\nx = 1\ny = 2\nx = 3\n")).find("first 2"), std::string::npos)
      << errors_of(parse_toml("[a]\nx = 1\ny = 2\nx = 3\n"));
  EXPECT_NE(errors_of(parse_toml("[t.one]\nx = 1\n[t.two]\ny = 2\n[t.one]\nz = 3\n")).find("first 1"),
            std::string::npos)
      << errors_of(parse_toml("[t.one]\nx = 1\n[t.two]\ny = 2\n[t.one]\nz = 3\n"));
}

TEST(TomlDocument, RefusesValuesThatNoOptionTakes) {
  EXPECT_EQ(errors_of(parse_toml("a = 2026-01-01\n")), "1:5 No option takes a date or a time\n");
  EXPECT_EQ(errors_of(parse_toml("a = inf\n")), "1:5 No option takes a number that is not finite\n");
}

TEST(TomlDocument, LimitsItsDepth) {
  std::string deep = "a = ";
  for (int i = 0; i < 31; ++i) deep += "[";
  for (int i = 0; i < 31; ++i) deep += "]";
  EXPECT_EQ(errors_of(parse_toml(deep)), "");
  std::string dotted = "a";
  for (int i = 0; i < 40; ++i) dotted += ".a";
  EXPECT_NE(errors_of(parse_toml(dotted + " = 1")).find("nested more than 32 deep"), std::string::npos);
  for (int i = 0; i < 100000; ++i) dotted += ".a";
  EXPECT_NE(errors_of(parse_toml(dotted + " = 1")).find("more than 64 dots"), std::string::npos);
  std::string tables;
  for (int i = 0; i < 100000; ++i) tables += "{a=";
  EXPECT_NE(errors_of(parse_toml("a = " + tables)), "");
}

TEST(TomlDots, CountsOnlyThoseOutsideOfStringsAndComments) {
  const std::string dots(kLineDotsMax + 1, '.');
  for (const std::string& text :
       {"a = \"" + dots + "\"", "a = '" + dots + "'", "# " + dots, "a = \"\"\"\n" + dots + "\"\"\"",
        "a = '''\n" + dots + "'''", "a = \"\\\"" + dots + "\""}) {
    EXPECT_FALSE(find_too_many_dots(text)) << text;
    EXPECT_TRUE(find_too_many_dots(text + "\n" + dots)) << text;
  }
  EXPECT_FALSE(find_too_many_dots(dots.substr(1)));
}

TEST(JsonDocument, ReadsMembersWithTheirPlaces) {
  const SourceDocument document = parse_json("{\"a\": {\"b\": [1, {}, []]},\n \"c\": \"x\"}");
  EXPECT_EQ(errors_of(document), "");
  EXPECT_EQ(place_of(document, "a"), "1:2");
  EXPECT_EQ(place_of(document, key({"a", "b", "1"})), "1:17");
  EXPECT_EQ(place_of(document, "c"), "2:2");
}

TEST(JsonDocument, NamesThePlaceOfAnError) {
  EXPECT_EQ(errors_of(parse_json("{\"a\": 1,\n \"b\": }")).substr(0, 2), "2:");
  EXPECT_NE(errors_of(parse_json("{\"a\": 1,\n \"a\": 2}")).find("first 1"), std::string::npos);
  EXPECT_EQ(errors_of(parse_json("[]")), "1:1 The file must contain an object\n");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "{\"a\":";
  EXPECT_NE(errors_of(parse_json(deep)), "");
}

}  // namespace
}  // namespace blockexport::configuration
