#include "export/nbd/transmission/suspended_session.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "export/nbd/testing/client.h"
#include "export/nbd/transmission/receive_window.h"
#include "export/nbd/transmission/reply_queue.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {
namespace {

using testing::Bytes;
using testing::bytes_of;

static_assert(kUnsentRepliesMax == exports::kRequestsInFlightMax + 1);

SuspendedSession session() {
  return {.state = testing::make_state(HeaderMode::kExtended, 1u << 20),
          .unread = bytes_of('u', 100),
          .unsent = {{.bytes = bytes_of('h', 20), .data = {.offset = 4096, .length = 8192}},
                     {.bytes = {}, .data = {.offset = 0, .length = 1u << 20}},
                     {.bytes = bytes_of('t', 3), .data = {}}}};
}

std::string_view reason_of(const Bytes& bytes) {
  auto taken = deserialize_session(bytes);
  return taken ? "" : taken.error();
}

TEST(SuspendedSessionTest, SurvivesSerialisation) {
  for (const SuspendedSession& one :
       {session(), SuspendedSession{.state = session().state, .unread = {}, .unsent = {}}}) {
    auto back = deserialize_session(serialize(one));
    ASSERT_TRUE(back) << back.error();
    EXPECT_EQ(*back, one);
  }
}

TEST(SuspendedSessionTest, TruncatedBytesAndTrailingBytesAreRefused) {
  const Bytes whole = serialize(session());
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_NE(reason_of(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes))), "") << bytes;
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(reason_of(longer), "trailing bytes");
}

TEST(SuspendedSessionTest, MembersBeyondTheirLimitsAreRefused) {
  EXPECT_EQ(reason_of(bytes_of('x', 100)), "not a suspended session");
  // The header has the magic, the version, and the three sizes.
  for (auto [offset, reason] : {std::pair<std::size_t, std::string_view>{4, "unknown version"},
                                {10, "too many unread bytes"},
                                {14, "too many unsent replies"}}) {
    Bytes bytes = serialize(session());
    bytes[offset] = std::byte{0x7f};
    EXPECT_EQ(reason_of(bytes), reason);
  }
  SuspendedSession outside = session();
  outside.unsent[0].data.length = 1u << 20;
  EXPECT_EQ(reason_of(serialize(outside)), "reply outside of the export");
  SuspendedSession nothing = session();
  nothing.unsent[2].bytes.clear();
  EXPECT_EQ(reason_of(serialize(nothing)), "empty reply");
}

}  // namespace
}  // namespace blockexport::nbd
