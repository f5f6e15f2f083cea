#include "base/log_format.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "base/log.h"
#include "base/log_destination.h"
#include "base/peer_line_limiter.h"
#include "base/peer_log.h"

namespace blockexport {
namespace {

constexpr std::int64_t kLeapDay2028 = 1'835'445'696'000'007;  // 2028-02-29 14:01:36.000007 UTC

std::string encoded(LogFormat format, const LogRecord& record) {
  std::string out;
  append_log_record(format, record, kLeapDay2028, out);
  return out;
}

TEST(LogFormatTest, TextHasTheMessageAndNoField) {
  const LogField fields[] = {{.name = "export", .value = "disk"}};
  EXPECT_EQ(encoded(LogFormat::kText,
                    {.level = LogLevel::kWarning, .program = "bx", .message = "a\x1b\nb", .fields = fields}),
            "bx: warning: a\\x1b\nb\n");
  EXPECT_EQ(encoded(LogFormat::kText, {.program = "bx", .location = ":f:3: ", .message = "e"}), "bx:f:3: e\n");
  EXPECT_EQ(encoded(LogFormat::kText, {.program = "bx", .message = "nbd_x 1", .is_trace = true}), "nbd_x 1\n");
}

TEST(LogFormatTest, JsonIsOneObjectPerLine) {
  const LogField fields[] = {{.name = "client", .value = "7", .is_number = true},
                             {.name = "export", .value = "a\"\\\x01\n\xff\xc3\xa4"}};
  EXPECT_EQ(
      encoded(
          LogFormat::kJson,
          {.level = LogLevel::kInfo, .program = "bx", .location = ":f:3: ", .message = "two\nlines", .fields = fields}),
      R"({"time":"2028-02-29T14:01:36.000007Z","level":"info","message":"f:3: two\nlines","client":7,)"
      "\"export\":\"a\\\"\\\\\\u0001\\n\\ufffd\xc3\xa4\"}\n");
}

TEST(LogFormatTest, JsonHasNoBytesThatAreNotUtf8) {
  const auto shown = [](std::string_view text) {
    const std::string line = encoded(LogFormat::kJson, {.message = text});
    const std::size_t begin = line.find("\"message\":\"") + 11;
    return line.substr(begin, line.size() - begin - 3);
  };
  EXPECT_EQ(shown("\xc0\xaf"), "\\ufffd\\ufffd") << "an overlong sequence";
  EXPECT_EQ(shown("\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd") << "a surrogate";
  EXPECT_EQ(shown("\xf4\x90\x80\x80"), "\\ufffd\\ufffd\\ufffd\\ufffd") << "beyond U+10FFFF";
  EXPECT_EQ(shown("\xe2\x82"), "\\ufffd\\ufffd") << "a sequence without its end";
  EXPECT_EQ(shown("\xe2\x82\xac\xf0\x9f\x92\xbe"), "\xe2\x82\xac\xf0\x9f\x92\xbe");
}

TEST(LogFormatTest, JournalFieldsHaveUpperCaseNamesAndNewlinesALength) {
  const LogField fields[] = {{.name = "export", .value = "disk"}, {.name = "client", .value = "7", .is_number = true}};
  std::string out = encoded(LogFormat::kJournal, {.level = LogLevel::kWarning, .program = "bx", .message = "a\nb"});
  out += encoded(LogFormat::kJournal, {.program = "bx", .message = "c", .fields = fields});
  std::string_view frames = out;
  EXPECT_EQ(take_log_frame(frames),
            std::string_view("MESSAGE\n\3\0\0\0\0\0\0\0a\nb\nPRIORITY=4\nSYSLOG_IDENTIFIER=bx\n", 8 + 8 + 4 + 11 + 21));
  EXPECT_EQ(take_log_frame(frames), "MESSAGE=c\nPRIORITY=3\nSYSLOG_IDENTIFIER=bx\nEXPORT=disk\nCLIENT=7\n");
  EXPECT_EQ(take_log_frame(frames), std::nullopt);
}

TEST(LogFormatTest, AFieldCannotMakeFurtherFields) {
  const LogField fields[] = {{.name = "export", .value = "x\nPRIORITY=0"}};
  std::string out = encoded(LogFormat::kJournal, {.program = "bx", .message = "c", .fields = fields});
  EXPECT_FALSE(out.contains("\nPRIORITY=0"));
  EXPECT_TRUE(out.contains("EXPORT=x\\x0aPRIORITY=0\n"));
}

TEST(LogFormatTest, SyslogGetsOneMessagePerLine) {
  std::string out = encoded(LogFormat::kSyslog, {.level = LogLevel::kInfo, .program = "bx", .message = "a\n\x1b[b"});
  std::string_view frames = out;
  EXPECT_EQ(take_log_frame(frames), "6a");
  EXPECT_EQ(take_log_frame(frames), "6\\x1b[b");
  EXPECT_EQ(take_log_frame(frames), std::nullopt);
}

// A journal that the test reads.
class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    char name[] = "/tmp/bx-journal-XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/socket";
    listen();
  }
  ~JournalTest() override {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }

  void listen() {
    socket_ = OwnedFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(path_.c_str());
    ASSERT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }

  // The next record; that of a memory file when the datagram is empty.
  std::string record() {
    std::array<char, 65536> bytes;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = recvmsg(socket_.get(), &message, 0);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (count != 0 || header == nullptr) return {bytes.data(), static_cast<std::size_t>(count)};
    int number = -1;
    std::memcpy(&number, CMSG_DATA(header), sizeof number);
    const OwnedFd file(number);
    EXPECT_EQ(fcntl(file.get(), F_GET_SEALS) & F_SEAL_WRITE, F_SEAL_WRITE);
    std::string text(1 << 24, '\0');
    const ssize_t size = pread(file.get(), text.data(), text.size(), 0);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return text;
  }

  std::string directory_;
  std::string path_;
  OwnedFd socket_;
};

TEST_F(JournalTest, ALogSendsRecordsWithItsFields) {
  auto destination = LogDestination::journal(path_);
  ASSERT_TRUE(destination);
  LogChannel channel(std::move(*destination), "bx");
  Trace trace(channel, "bx");
  Log log("bx", channel, LogLevel::kInfo, trace);
  ASSERT_TRUE(channel.start());
  const PeerLog peer(log, "10.0.0.1");
  const LogField fields[] = {{.name = "peer", .value = "10.0.0.1:5"}};
  peer.warning("refused", fields);
  EXPECT_EQ(record(), "MESSAGE=refused\nPRIORITY=4\nSYSLOG_IDENTIFIER=bx\nPEER=10.0.0.1:5\n");
  log.info("b");
  EXPECT_EQ(record(), "MESSAGE=b\nPRIORITY=6\nSYSLOG_IDENTIFIER=bx\n");
}

TEST_F(JournalTest, ALongRecordComesInAMemoryFile) {
  auto destination = LogDestination::journal(path_);
  ASSERT_TRUE(destination);
  LogChannel channel(std::move(*destination), "bx");
  const std::string message(1 << 20, 'm');
  channel.write({.program = "bx", .message = message});
  EXPECT_EQ(record(), "MESSAGE=" + message + "\nPRIORITY=3\nSYSLOG_IDENTIFIER=bx\n");
}

TEST_F(JournalTest, ANewJournalGetsTheNumberOfRecordsThatTheOldOneMissed) {
  auto destination = LogDestination::journal(path_);
  ASSERT_TRUE(destination);
  LogChannel channel(std::move(*destination), "bx");
  socket_.reset();
  for (int i = 0; i < 3; ++i) channel.write({.program = "bx", .message = "lost"});
  listen();
  channel.write({.program = "bx", .message = "after"});
  EXPECT_TRUE(record().starts_with("MESSAGE=3 lines of the log were dropped here"));
  EXPECT_TRUE(record().starts_with("MESSAGE=after\n"));
}

TEST_F(JournalTest, WithoutAJournalThereIsAnError) {
  socket_.reset();
  EXPECT_FALSE(LogDestination::journal(path_));
}

TEST_F(JournalTest, AChannelChangesItsDestinationBetweenTwoRecords) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const OwnedFd reading(ends[0]);
  OwnedFd writing(ends[1]);
  LogChannel channel(LogDestination(LogFormat::kText, std::move(writing)), "bx");
  ASSERT_TRUE(channel.start());
  for (int i = 0; i < 100; ++i) channel.write({.program = "bx", .message = "before"});
  auto destination = LogDestination::journal(path_);
  ASSERT_TRUE(destination);
  channel.redirect(std::move(*destination));
  channel.write({.program = "bx", .message = "after"});
  EXPECT_TRUE(record().starts_with("MESSAGE=after\n"));
  std::string text;
  std::array<char, 4096> bytes;
  for (ssize_t count = 1; (count = ::read(reading.get(), bytes.data(), bytes.size())) > 0;) {
    text.append(bytes.data(), static_cast<std::size_t>(count));
  }
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += "bx: before\n";
  EXPECT_EQ(text, expected);
}

// A log to a pipe, with JSON.
class LogSelectionTest : public testing::Test {
 protected:
  LogSelectionTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    reading_ = OwnedFd(ends[0]);
    writing_ = OwnedFd(ends[1]);
    log_.emplace("bx", writing_.get(), LogLevel::kInfo);
  }
  std::string said() {
    std::array<char, 65536> bytes;
    const ssize_t count = ::read(reading_.get(), bytes.data(), bytes.size());
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
  }
  OwnedFd reading_;
  OwnedFd writing_;
  std::optional<Log> log_;
};

TEST_F(LogSelectionTest, LinesAboutSingleClientsNeedAChosenLevel) {
  const PeerLog peer(*log_, "10.0.0.1");
  peer.tell("came", {});
  EXPECT_EQ(said(), "");
  log_->selection().choose(LogLevel::kWarning);
  peer.tell("came", {});
  log_->info("not this one");
  EXPECT_EQ(said(), "");
  log_->selection().choose(LogLevel::kDebug);
  peer.tell("came", {});
  peer.debug("details");
  EXPECT_EQ(said(), "bx: info: came\nbx: debug: details\n");
}

TEST_F(LogSelectionTest, ClientsThatComeAndGoHideNeitherWarningsAboutThemNorErrorsOfStorage) {
  log_->selection().choose(LogLevel::kInfo);
  const PeerLog peer(*log_, "10.0.0.1");
  for (std::uint64_t i = 0; i < 2 * kPeerLinesMax; ++i) peer.tell("came", {});
  EXPECT_TRUE(said().ends_with("bx: info: further lines about 10.0.0.1 are only counted, for up to 60 s\n"));
  for (std::uint64_t i = 0; i < 2 * kPeerLinesMax; ++i) peer.warning("refused");
  EXPECT_TRUE(said().ends_with("bx: warning: further lines about 10.0.0.1 are only counted, for up to 60 s\n"));
  for (std::uint64_t i = 0; i < 2 * kPeerLinesMax; ++i) log_->error("storage");
  std::string expected;
  for (std::uint64_t i = 0; i < 2 * kPeerLinesMax; ++i) expected += "bx: storage\n";
  EXPECT_EQ(said(), expected);
}

}  // namespace
}  // namespace blockexport
