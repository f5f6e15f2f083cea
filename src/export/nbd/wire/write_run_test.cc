#include "export/nbd/wire/write_run.h"

#include <gtest/gtest.h>

#include <vector>

#include "export/nbd/testing/client.h"

namespace blockexport::nbd::testing {
namespace {

constexpr std::uint64_t kExportBytes = 1u << 20;

class WriteRunTest : public ::testing::TestWithParam<HeaderMode> {
 protected:
  WriteRunTest() : state_(make_state(GetParam(), kExportBytes)), rules_(state_, UnalignedRequests::kServe) {}

  void send(Bytes request) { bytes_.insert(bytes_.end(), request.begin(), request.end()); }
  void send_write(std::uint64_t cookie, std::uint64_t offset, std::size_t length, std::uint16_t flags = 0) {
    send(codec_.write(cookie, offset, bytes_of(static_cast<char>('a' + cookie), length), flags));
  }
  WriteRun run() const { return {bytes_, GetParam(), rules_}; }

  ClientCodec codec_{GetParam()};
  SessionState state_;
  RequestRules rules_;
  Bytes bytes_;
};
INSTANTIATE_TEST_SUITE_P(EveryMode, WriteRunTest, ::testing::ValuesIn(kAllModes));

TEST_P(WriteRunTest, TakesNeighboursInOrderAndSkipsTheirHeaders) {
  send_write(0, 1000, 24);
  send_write(1, 1024, 512);
  send_write(2, 1536, 1);
  WriteRun all = run();
  EXPECT_EQ(all.requests(), 3u);
  EXPECT_EQ(all.offset(), 1000u);
  EXPECT_EQ(all.length(), 537u);
  EXPECT_EQ(all.wire_bytes(), bytes_.size());
  for (std::size_t i = 0; i < all.requests(); ++i) {
    EXPECT_EQ(all.request(i).cookie, i);
    EXPECT_EQ(all.vectors()[i].iov_len, all.request(i).length);
    EXPECT_EQ(*static_cast<const char*>(all.vectors()[i].iov_base), static_cast<char>('a' + i));
  }
}

TEST_P(WriteRunTest, EndsBeforeARequestThatDoesNotContinueIt) {
  const std::vector<Bytes> others = {
      codec_.write(1, 1537, bytes_of('x', 512)),                      // a gap
      codec_.write(1, 1024, bytes_of('x', 512)),                      // the same range again
      codec_.write(1, 512, bytes_of('x', 512)),                       // in front
      codec_.write(1, 1536, bytes_of('x', 512), command_flag::kFua),  // other flags
      codec_.write(1, 1536, bytes_of('x', kSmallWriteBytesMax + 1)),  // in pieces
      codec_.write(1, 1536, {}),                                      // empty
      codec_.write(1, 1536, bytes_of('x', 512), 0x8000),              // unknown flag
      codec_.request(Command::kRead, 1, 1536, 512),
      codec_.request(Command::kWriteZeroes, 1, 1536, 512),
      Bytes(64, std::byte{0xff}),  // no valid request
  };
  for (const Bytes& other : others) {
    bytes_.clear();
    send_write(0, 1024, 512);
    const std::size_t first_bytes = bytes_.size();
    send(other);
    EXPECT_EQ(run().requests(), 1u);
    EXPECT_EQ(run().wire_bytes(), first_bytes);
  }
}

TEST_P(WriteRunTest, EndsAtTheEndOfTheExport) {
  send_write(0, kExportBytes - 512, 512);
  send_write(1, kExportBytes, 512);
  EXPECT_EQ(run().requests(), 1u);
}

TEST_P(WriteRunTest, TakesOnlyCompleteRequests) {
  send_write(0, 0, 512);
  send_write(1, 512, 512);
  const std::size_t two = bytes_.size();
  send_write(2, 1024, 512);
  for (std::size_t size = two; size < bytes_.size(); ++size) {
    EXPECT_EQ(WriteRun(std::span(bytes_).first(size), GetParam(), rules_).requests(), 2u) << size;
  }
}

TEST_P(WriteRunTest, IsLimited) {
  for (std::uint64_t cookie = 0; cookie < WriteRun::kRequestsMax + 5; ++cookie) send_write(cookie, cookie * 8, 8);
  EXPECT_EQ(run().requests(), WriteRun::kRequestsMax);
}

}  // namespace
}  // namespace blockexport::nbd::testing
