#include "export/nbd/wire/session_state.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "base/byte_writer.h"

namespace blockexport::nbd {
namespace {

SessionState example() {
  SessionState state;
  state.fixed_newstyle = true;
  state.no_zeroes = true;
  state.header_mode = HeaderMode::kExtended;
  state.transmission_flags = 0x1ded;
  state.export_name = "disk";
  state.export_bytes = 5u << 20;
  state.block_sizes = {.minimum = 4096, .preferred = 65536, .maximum = 1u << 20};
  state.contexts = {{"base:allocation", 0}, {"qemu:dirty-bitmap:b0", 2}};
  return state;
}

TEST(SessionState, SurvivesSerialisation) {
  const SessionState state = example();
  const auto back = deserialize(serialize(state));
  ASSERT_TRUE(back.has_value()) << back.error();
  EXPECT_EQ(*back, state);
}

TEST(SessionState, EveryTruncationIsRefused) {
  const auto bytes = serialize(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(deserialize(std::span(bytes).first(size)).has_value()) << size;
  }
}

TEST(SessionState, TrailingBytesAreRefused) {
  auto bytes = serialize(example());
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(deserialize(bytes).has_value());
}

TEST(SessionState, AStateThatNoHandshakeCreatesIsRefused) {
  // Offsets of the fixed members, with which the test corrupts one member at a time.
  const struct {
    std::size_t at;
    std::uint8_t value;
    const char* what;
  } cases[] = {
      {0, 0, "magic"},
      {5, 2, "version"},
      {6, 0x80, "unknown yes-or-no member"},
      {7, 3, "header mode"},
      {7, 1, "payload filter without extended headers"},
      {8, 0x2d, "unassigned transmission flag"},
      {9, 0xec, "no HAS_FLAGS"},
      {11, 1, "reserved bytes"},
      {12, 0x80, "size beyond the signed range"},
      {23, 3, "minimum block size"},
      {31, 1, "maximum block size"},
  };
  for (const auto& [at, value, what] : cases) {
    auto bytes = serialize(example());
    if (std::string_view(what) == "maximum block size") {
      bytes[29] = std::byte{0};
      bytes[28] = std::byte{0};
      bytes[30] = std::byte{0};
    }
    bytes[at] = static_cast<std::byte>(value);
    EXPECT_FALSE(deserialize(bytes).has_value()) << what;
  }
}

TEST(SessionState, ContextIdsHaveToAscend) {
  SessionState state = example();
  auto bytes = serialize(state);
  // The id of the second context is before its two length bytes and its name.
  bytes[bytes.size() - 2 - state.contexts[1].name.size() - 1] = std::byte{0};
  EXPECT_FALSE(deserialize(bytes).has_value());
}

TEST(SessionState, AHugeCountOfContextsAllocatesNothing) {
  auto bytes = serialize(example());
  for (std::size_t at = 32; at < 36; ++at) bytes[at] = std::byte{0xff};
  EXPECT_FALSE(deserialize(bytes).has_value());
}

TEST(SessionState, LimitsTheNumberOfContexts) {
  constexpr std::size_t kCountOffset = 32;
  SessionState state = example();
  state.contexts.clear();
  for (std::uint32_t id = 0; id < kContextsMax; ++id) state.contexts.push_back({"a:b", id});
  std::vector<std::byte> bytes = serialize(state);
  const auto back = deserialize(bytes);
  ASSERT_TRUE(back.has_value()) << back.error();
  EXPECT_EQ(*back, state);
  // One context more, and the count that includes it.
  std::array<std::byte, 9> added;
  ByteWriter writer(added);
  writer.u32(kContextsMax);
  writer.u16(3);
  writer.text("a:b");
  bytes.insert(bytes.end(), added.begin(), added.end());
  ByteWriter(std::span(bytes).subspan(kCountOffset, 4)).u32(kContextsMax + 1);
  const auto refused = deserialize(bytes);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), "too many contexts");
}

TEST(BlockSizes, R110_R111_R112_are_checked) {
  EXPECT_TRUE(are_valid({}));
  EXPECT_TRUE(are_valid({.minimum = 65536, .preferred = 65536, .maximum = 65536}));
  EXPECT_FALSE(are_valid({.minimum = 0}));
  EXPECT_FALSE(are_valid({.minimum = 3}));
  EXPECT_FALSE(are_valid({.minimum = 131072, .preferred = 131072}));
  EXPECT_FALSE(are_valid({.minimum = 1, .preferred = 256}));
  EXPECT_FALSE(are_valid({.minimum = 8192, .preferred = 4096}));
  EXPECT_FALSE(are_valid({.minimum = 1, .preferred = 4096, .maximum = 4095}));
}

}  // namespace
}  // namespace blockexport::nbd
