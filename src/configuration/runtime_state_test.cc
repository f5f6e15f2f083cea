#include "configuration/runtime_state.h"

#include <gtest/gtest.h>

namespace blockexport::configuration {
namespace {

constexpr const char* kState = R"({
"version": 1,
"objects": [
  {"qom-type": "iothread", "id": "io0"}
],
"chardevs": [
  {"id": "c0", "backend": {"type": "null", "data": {}}}
],
"monitors": [
  {"qom-type": "monitor-qmp", "id": "m0", "chardev": "c0"}
],
"nodes": [
  {"driver": "null-co", "node-name": "n0"},
  {"driver": "raw", "node-name": "n1", "file": "n0"}
],
"servers": [
  {"id": "s0", "listen": ["unix:/run/s0"]}
],
"exports": [
  {"type": "nbd", "id": "e0", "node-name": "n1"}
]
})";

std::string errors_of(std::string_view text) {
  Findings findings;
  parse_runtime_state("/s/runtime.json", text, findings);
  return findings.text();
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(RuntimeStateTest, IsReadAsItWasWritten) {
  Findings findings;
  const schema::RuntimeState state = parse_runtime_state("/s/runtime.json", kState, findings);
  ASSERT_EQ(findings.text(), "");
  EXPECT_EQ(state.nodes.size(), 2U);
  const std::string text = text_of(state);
  EXPECT_EQ(text_of(parse_runtime_state("/s/runtime.json", text, findings)), text);
  EXPECT_EQ(findings.text(), "");
  const std::string empty = text_of(schema::RuntimeState{.version = kRuntimeStateVersion});
  EXPECT_EQ(errors_of(empty), "");
}

TEST(RuntimeStateTest, EachErrorHasItsPlace) {
  EXPECT_EQ(errors_of(replaced(kState, "\"null-co\"", "\"nul-co\"")).substr(0, 22), "/s/runtime.json:13:4: ");
  EXPECT_NE(errors_of(replaced(kState, "\"listen\"", "\"listne\"")).find("/s/runtime.json:17:"), std::string::npos);
  EXPECT_EQ(errors_of(replaced(kState, "\"n1\", \"file\"", "\"n0\", \"file\"")),
            "/s/runtime.json:14:3: The ID 'n0' is used twice");
  EXPECT_EQ(errors_of(replaced(kState, ", \"node-name\": \"n0\"", "")),
            "/s/runtime.json:13:3: A node needs a node-name");
  EXPECT_EQ(errors_of(replaced(kState, "\"m0\"", "\"io0\"")), "/s/runtime.json:10:3: The ID 'io0' is used twice");
  EXPECT_NE(errors_of("").find("/s/runtime.json:1:1: "), std::string::npos);
  EXPECT_NE(errors_of(std::string_view(kState).substr(0, 200)).find("/s/runtime.json:"), std::string::npos);
  EXPECT_NE(errors_of("[]").find("The file must contain an object"), std::string::npos);
}

TEST(RuntimeStateTest, AnotherVersionIsRefusedBeforeItsContent) {
  EXPECT_EQ(
      errors_of(replaced(replaced(kState, ": 1,", ": 2,"), "\"listen\"", "\"hear\"")),
      "/s/runtime.json:2:1: The file has another version than 1. Another version of this program has written it.");
}

TEST(RuntimeStateTest, NothingThatIsCutOffIsAccepted) {
  const std::string_view text = kState;
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_NE(errors_of(text.substr(0, length)), "") << length;
  }
}

}  // namespace
}  // namespace blockexport::configuration
