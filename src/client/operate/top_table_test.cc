// Rates between two samples, their order, and the text within a terminal's size.
#include "client/operate/top_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "json/parser.h"

namespace blockexport::operate {
namespace {

ClientState client(std::uint64_t number, const std::string& export_id, std::uint64_t read_bytes,
                   std::uint64_t write_bytes, std::uint64_t operations) {
  return {.number = number,
          .export_id = export_id,
          .peer = "192.0.2.1:1",
          .in_flight = number,
          .operations = operations,
          .read_bytes = read_bytes,
          .write_bytes = write_bytes};
}

constexpr std::uint64_t kSecondNs = 1'000'000'000;

TEST(TopTableTest, SortsByBytesAndSumsExports) {
  const TopSample before{.time_ns = 0, .clients = {client(1, "a", 100, 0, 1), client(2, "b", 0, 50, 1)}};
  const TopSample after{.time_ns = 2 * kSecondNs,
                        .clients = {client(1, "a", 300, 0, 3), client(2, "b", 0, 4050, 5), client(3, "a", 200, 0, 2)}};
  const TopTable table = top_table(before, after);
  EXPECT_DOUBLE_EQ(table.seconds, 2);
  ASSERT_EQ(table.clients.size(), 3u);
  EXPECT_EQ(table.clients[0].state.number, 2u);
  EXPECT_DOUBLE_EQ(table.clients[0].rates.write_bytes, 2000);
  EXPECT_EQ(table.clients[1].state.number, 1u);
  EXPECT_DOUBLE_EQ(table.clients[2].rates.read_bytes, 100);
  ASSERT_EQ(table.exports.size(), 2u);
  EXPECT_EQ(table.exports[0].id, "b");
  EXPECT_EQ(table.exports[1].clients, 2u);
  EXPECT_EQ(table.exports[1].in_flight, 4u);
  EXPECT_DOUBLE_EQ(table.exports[1].rates.all_bytes, 200);
  EXPECT_DOUBLE_EQ(table.rates.operations, 4);
}

TEST(TopTableTest, AnotherDaemonOrNoTimeGivesNoRates) {
  const TopSample before{.time_ns = 5, .clients = {client(1, "a", 100, 100, 9)}};
  const TopSample restarted{.time_ns = kSecondNs, .clients = {client(1, "a", 50, 50, 1)}};
  EXPECT_DOUBLE_EQ(top_table(before, restarted).rates.all_bytes, 0);
  const TopTable same = top_table(before, before);
  EXPECT_DOUBLE_EQ(same.seconds, 0);
  EXPECT_DOUBLE_EQ(same.rates.operations, 0);
}

TEST(TopTableTest, TextFitsTheTerminal) {
  TopSample after{.time_ns = kSecondNs, .clients = {}};
  for (std::uint64_t i = 0; i < 50; ++i) after.clients.push_back(client(i, "export\x1b[31m", i << 20, 0, i));
  const TopTable table = top_table({}, after);
  const std::string text = top_text(table, 40, 10);
  EXPECT_EQ(std::ranges::count(text, '\n'), 10);
  for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
    EXPECT_LE(text.find('\n', begin) - begin, 40u);
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << "a name moves the cursor";
  EXPECT_GT(top_text(table, 0, 0).size(), text.size());
}

TEST(TopTableTest, ValueHasTheSameNumbers) {
  const json::Object value = top_value(top_table({}, {.time_ns = kSecondNs, .clients = {client(7, "a", 10, 5, 2)}}));
  EXPECT_EQ(*value.find("bytes-per-second")->as_double(), 15);
  const json::Object& one = *value.find("clients")->as_array()->front().as_object();
  EXPECT_EQ(*one.find("client")->as_integer(), 7);
  EXPECT_EQ(*one.find("read-bytes-per-second")->as_double(), 10);
  EXPECT_EQ(one.find("identity"), nullptr);
}

TEST(ClientStateTest, ReadsAReplyAndTakesAnyOther) {
  const auto reply = json::parse(R"([{"client": 7, "export": "vda", "peer": "p", "writable": true, "in-flight": 2,
      "tls": {"version": "TLS1.3"}, "operations": {"read": 12, "write": 3, "flush": 1},
      "bytes": {"read": 49152, "write": 12288, "write-zeroes": 1, "trim": 5}}, {"client": -1}, 5, {}])");
  ASSERT_TRUE(reply);
  const auto clients = clients_in(*reply);
  ASSERT_EQ(clients.size(), 1u);
  EXPECT_EQ(clients[0].operations, 16u);
  EXPECT_EQ(clients[0].write_bytes, 12289u);
  EXPECT_EQ(clients[0].other_bytes, 5u);
  EXPECT_EQ(clients[0].tls_version, "TLS1.3");
  for (const char* text : {"7", "{}", R"([{"client": 1, "bytes": 5, "operations": [1], "tls": 3}])"}) {
    const auto other = json::parse(text);
    ASSERT_TRUE(other);
    for (const ClientState& state : clients_in(*other)) EXPECT_EQ(state.operations, 0u);
  }
}

}  // namespace
}  // namespace blockexport::operate
