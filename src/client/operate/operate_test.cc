// Pure parts of the commands for a running daemon: tables, sizes, IDs and replies.
#include <gtest/gtest.h>

#include "client/operate/export_verbs.h"
#include "client/operate/inventory.h"
#include "client/operate/table.h"
#include "json/parser.h"

namespace blockexport::operate {
namespace {

json::Value parsed(std::string_view text) {
  auto value = json::parse(text);
  EXPECT_TRUE(value) << text;
  return value ? std::move(*value) : json::Value();
}

TEST(TableTest, AlignsColumnsByCharacters) {
  EXPECT_EQ(table_text({{"NAME", "SIZE"}, {"a", "1"}, {"m\xc3\xbcller", "1000"}}, "<>"),
            "NAME    SIZE\na          1\nm\xc3\xbcller  1000\n");
  EXPECT_EQ(table_text({{"a", ""}, {"bb", ""}}, "<<"), "a\nbb\n");
  EXPECT_EQ(table_text({}, "<"), "");
}

TEST(SizeTest, TakesSuffixesAndAdditions) {
  EXPECT_EQ(parse_size("1000", 5), 1000u);
  EXPECT_EQ(parse_size("2k", 5), 2048u);
  EXPECT_EQ(parse_size("+1G", 5), (1u << 30) + 5u);
  EXPECT_EQ(parse_size("7E", 0), std::uint64_t{7} << 60);
}

TEST(SizeTest, RefusesWhatIsNoSize) {
  for (const char* text : {"", "+", "k", "-1", "1X", "1.5G", "8E", "99999999999999999999", "0x10", " 1", "++1"}) {
    EXPECT_FALSE(parse_size(text, 0)) << text;
  }
  EXPECT_FALSE(parse_size("+7E", std::uint64_t{7} << 60));
}

TEST(IdTest, IsTheNameOfTheFileIfThatIsOne) {
  EXPECT_EQ(id_of_file("/srv/images/vm1.raw"), "vm1.raw");
  EXPECT_EQ(id_of_file("disk_2-a"), "disk_2-a");
  for (const char* path : {"/srv/", "1.img", "a b", "", "abcdefghijklmnopqrstuvwxyz123456"}) {
    EXPECT_EQ(id_of_file(path), "") << path;
  }
}

TEST(InventoryTest, JoinsExportsWithTheirNodes) {
  const auto exports = exports_in(parsed(R"([{"id": "b", "type": "nbd", "node-name": "gone", "shutting-down": true},
                                             {"id": "a", "type": "nbd", "node-name": "n", "shutting-down": false}])"),
                                  parsed(R"([{"node-name": "n", "drv": "raw", "file": "x", "ro": true,
                                              "image": {"virtual-size": 9}}])"));
  ASSERT_EQ(exports.size(), 2u);
  EXPECT_EQ(exports[0].id, "a");
  EXPECT_EQ(exports[0].node.driver, "raw");
  EXPECT_EQ(exports[0].node.size_bytes, 9u);
  EXPECT_TRUE(exports[0].node.is_read_only);
  EXPECT_TRUE(exports[1].is_shutting_down);
  EXPECT_EQ(exports[1].node.name, "gone");
  EXPECT_FALSE(exports[1].node.size_bytes);
}

TEST(InventoryTest, TakesAnyReply) {
  for (const char* text : {"null", "17", "{}", "[1, null, []]", R"([{"id": 7, "node-name": {}}])",
                           R"([{"image": {"virtual-size": -1}}])", R"([{"image": 5}])"}) {
    const json::Value reply = parsed(text);
    for (const ExportState& state : exports_in(reply, reply)) EXPECT_FALSE(state.node.size_bytes) << text;
  }
}

}  // namespace
}  // namespace blockexport::operate
