#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/lasting_condition.h"
#include "base/peer_line_limiter.h"
#include "base/peer_log.h"

namespace blockexport {
namespace {

// A log that writes to a pipe, so that a test can read the lines.
class LogTest : public testing::Test {
 protected:
  LogTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    reading_ = OwnedFd(ends[0]);
    writing_ = OwnedFd(ends[1]);
  }

  std::string said() {
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
      ssize_t count = ::read(reading_.get(), buffer.data(), buffer.size());
      if (count <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }

  OwnedFd reading_;
  OwnedFd writing_;
};

TEST_F(LogTest, LinesHaveTheProgramThePlaceAndTheLevel) {
  Log log("bx", writing_.get(), LogLevel::kInfo);
  log.error("a\x1b");
  log.warning("b\nmore");
  log.info("c");
  log.debug("not this one");
  log.warning_in_option("--trace x", "d");
  log.error_in_file("file:3", "e");
  EXPECT_EQ(said(), "bx: a\\x1b\nbx: warning: b\nmore\nbx: info: c\nbx: --trace x: warning: d\nbx:file:3: e\n");
}

TEST_F(LogTest, APeersLinesAreLimitedAndTheRestIsToldAtTheEnd) {
  {
    Log log("bx", writing_.get(), LogLevel::kInfo);
    PeerLog first(log, "10.0.0.1");
    PeerLog again(log, "10.0.0.1");
    PeerLog other(log, "10.0.0.2");
    for (std::uint64_t i = 0; i < kPeerLinesMax; ++i) {
      first.warning("a");
      again.debug("not written, not counted");
      again.warning("b");
    }
    std::string expected;
    for (std::uint64_t i = 0; i < kPeerLinesMax / 2; ++i) expected += "bx: warning: a\nbx: warning: b\n";
    expected += "bx: warning: further lines about 10.0.0.1 are only counted, for up to 60 s\n";
    EXPECT_EQ(said(), expected);
    other.info("c");
    EXPECT_EQ(said(), "bx: info: c\n");
    log.warning("not about a peer");
    EXPECT_EQ(said(), "bx: warning: not about a peer\n");
  }
  EXPECT_EQ(said(), "bx: warning: 20 more lines about peers were left out in the last 60 s: 20 about 10.0.0.1\n");
}

TEST_F(LogTest, ALastingConditionIsToldOnceForNow) {
  Log log("bx", writing_.get(), LogLevel::kInfo);
  LastingCondition condition(log);
  EXPECT_FALSE(condition.is_on());
  for (int i = 0; i < 1000; ++i) condition.happened("it does not work");
  EXPECT_TRUE(condition.is_on());
  EXPECT_EQ(said(), "bx: warning: it does not work\n");
  condition.ended("it works");
  EXPECT_EQ(said(), "") << "whether that holds is seen later";
  {
    LastingCondition gone(log);
    gone.happened("this ends with its owner");
  }
  EXPECT_EQ(said(), "bx: warning: this ends with its owner\n");
}

}  // namespace
}  // namespace blockexport
