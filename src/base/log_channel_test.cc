#include "base/log_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>

#include "base/clock.h"

namespace blockexport {
namespace {

// A pipe with a reader.
class LogChannelTest : public testing::Test {
 protected:
  LogChannelTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    reading_ = OwnedFd(ends[0]);
    writing_ = OwnedFd(ends[1]);
    fcntl(writing_.get(), F_SETPIPE_SZ, 4096);
  }

  // Reads until `end` was read or the pipe is closed.
  std::string read_until(std::string_view end) {
    std::string text;
    std::array<char, 65536> buffer;
    while (!text.contains(end)) {
      ssize_t count = ::read(reading_.get(), buffer.data(), buffer.size());
      if (count <= 0) break;
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return text;
  }

  static std::string line(int number) { return "line " + std::to_string(number) + "\n"; }

  OwnedFd reading_;
  OwnedFd writing_;
};

TEST_F(LogChannelTest, LinesAreWrittenAtOnceBeforeItIsStarted) {
  LogChannel channel(writing_.get(), "x: ");
  channel.write("one\n");
  EXPECT_EQ(read_until("\n"), "one\n");
}

TEST_F(LogChannelTest, LinesKeepTheirOrderAndAreOutAfterAFlush) {
  LogChannel channel(writing_.get(), "x: ");
  channel.write("zero\n");
  ASSERT_TRUE(channel.start());
  channel.write("one\n");
  channel.write("two\nthree\n");
  EXPECT_TRUE(channel.flush());
  fcntl(reading_.get(), F_SETFL, O_NONBLOCK);
  EXPECT_EQ(read_until("nothing"), "zero\none\ntwo\nthree\n");
}

TEST_F(LogChannelTest, NobodyWaitsForAReaderAndWhatIsDroppedIsTold) {
  LogChannel channel(writing_.get(), "x: ");
  ASSERT_TRUE(channel.start());
  constexpr int kLines = 200'000;
  const std::uint64_t before = SystemClock().now_ns();
  for (int i = 0; i < kLines; ++i) channel.write(line(i));
  EXPECT_FALSE(channel.flush());
  EXPECT_LT(SystemClock().now_ns() - before, 30'000'000'000u);
  std::thread later([&] {
    while (!channel.flush()) {
    }
    channel.write("the end\n");
  });
  const std::string text = read_until("the end\n");
  later.join();
  // The kept lines are complete and in order, and a notice in each gap gives the number of missing ones.
  int next = 0;
  int gaps = 0;
  std::istringstream lines(text);
  for (std::string one; std::getline(lines, one) && one != "the end";) {
    int missing = 0;
    if (sscanf(one.c_str(), "x: %d line", &missing) == 1) {
      EXPECT_TRUE(one.ends_with(" of the log were dropped here, because nobody took them in time")) << one;
      next += missing;
      ++gaps;
    } else {
      ASSERT_EQ(one + "\n", line(next++));
    }
  }
  EXPECT_EQ(next, kLines);
  EXPECT_GE(gaps, 1);
  EXPECT_GT(text.size(), kLogBytesMax);
}

TEST_F(LogChannelTest, TheEndOfAStuckChannelComesInBoundedTime) {
  const std::uint64_t before = SystemClock().now_ns();
  {
    LogChannel channel(dup(writing_.get()), "x: ");
    ASSERT_TRUE(channel.start());
    for (int i = 0; i < 10'000; ++i) channel.write(line(i));
  }
  EXPECT_GE(SystemClock().now_ns() - before, kLogFlushNs);
  EXPECT_LT(SystemClock().now_ns() - before, 20 * kLogFlushNs);
}

TEST_F(LogChannelTest, TheEndWritesWhatIsLeft) {
  {
    LogChannel channel(writing_.get(), "x: ");
    ASSERT_TRUE(channel.start());
    for (int i = 0; i < 10; ++i) channel.write(line(i));
  }
  writing_.reset();
  std::string expected;
  for (int i = 0; i < 10; ++i) expected += line(i);
  EXPECT_EQ(read_until("nothing"), expected);
}

TEST_F(LogChannelTest, ADescriptorThatSomebodyMadeNonBlockingStaysSoAndGetsEverything) {
  fcntl(writing_.get(), F_SETFL, O_NONBLOCK);
  LogChannel channel(writing_.get(), "x: ");
  ASSERT_TRUE(channel.start());
  std::string expected;
  for (int i = 0; i < 10'000; ++i) {
    expected += line(i);
    channel.write(line(i));
  }
  EXPECT_TRUE(read_until(line(9999)) == expected);
  EXPECT_NE(fcntl(writing_.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(LogChannelTest, LinesOfTwoProcessesDoNotMix) {
  LogChannel one(writing_.get(), "x: ");
  LogChannel two(writing_.get(), "x: ");
  ASSERT_TRUE(one.start());
  ASSERT_TRUE(two.start());
  const std::string a = std::string(99, 'a') + "\n";
  const std::string b = std::string(77, 'b') + "\n";
  for (int i = 0; i < 1000; ++i) {
    one.write(a);
    two.write(b);
  }
  std::thread end([&] {
    while (!one.flush() || !two.flush()) {
    }
    EXPECT_EQ(::write(writing_.get(), "end\n", 4), 4);
  });
  std::string text = read_until("end\n");
  end.join();
  while (text != "end\n") {
    const std::string& whole = text.starts_with('a') ? a : b;
    ASSERT_TRUE(text.starts_with(whole));
    text.erase(0, whole.size());
  }
}

TEST_F(LogChannelTest, AReaderThatHasGoneStopsNothing) {
  signal(SIGPIPE, SIG_IGN);
  LogChannel channel(writing_.get(), "x: ");
  ASSERT_TRUE(channel.start());
  reading_.reset();
  channel.write("one\n");
  EXPECT_TRUE(channel.flush());
}

TEST_F(LogChannelTest, AFullFileIsToldOfWhenThereIsRoomAgain) {
  signal(SIGXFSZ, SIG_IGN);
  char path[] = "/tmp/log_channel_test.XXXXXX";
  OwnedFd file(mkstemp(path));
  ASSERT_TRUE(file);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small{.rlim_cur = 10, .rlim_max = before.rlim_max};
  LogChannel channel(file.get(), "x: ");
  ASSERT_TRUE(channel.start());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  channel.write("one\n");
  EXPECT_TRUE(channel.flush());
  channel.write("two and a half\n");
  EXPECT_TRUE(channel.flush());
  setrlimit(RLIMIT_FSIZE, &before);
  channel.write("three\n");
  EXPECT_TRUE(channel.flush());
  std::array<char, 1000> text{};
  ASSERT_GT(pread(file.get(), text.data(), text.size(), 0), 0);
  unlink(path);
  EXPECT_STREQ(text.data(),
               "one\ntwo an\nx: 1 line of the log was dropped here, because nobody took it in time\nthree\n");
}

// Timed lines whose due time the test sets.
class Later final : public TimedLines {
 public:
  std::uint64_t due_ns() const override { return due_; }
  void take_due(std::uint64_t, const LogLines& lines) override {
    due_ = UINT64_MAX;
    lines.add({.message = "due", .is_trace = true});
  }
  void take_last(const LogLines& lines) override { lines.add({.message = "last", .is_trace = true}); }
  std::atomic<std::uint64_t> due_ = UINT64_MAX;
};

TEST_F(LogChannelTest, TimedLinesComeByThemselvesAndAtTheEnd) {
  auto later = std::make_shared<Later>();
  {
    LogChannel channel(writing_.get(), "x: ");
    channel.set_timed_lines(later);
    ASSERT_TRUE(channel.start());
    later->due_ = SystemClock().now_ns() + 20'000'000;
    channel.due_time_changed();
    EXPECT_EQ(read_until("\n"), "due\n");
  }
  EXPECT_EQ(read_until("\n"), "last\n");
}

}  // namespace
}  // namespace blockexport
