// Transmission: each command, in each header mode.
#include "export/nbd/transmission/transmission.h"

#include "aio/testing/task_test.h"
#include "export/nbd/testing/transmission_test_base.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr auto kOneExtent = command_flag::kOneExtent;

class TransmissionCommandTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();
  template <class Test>
  Task<void> body(Session& session);

  // Runs `Test` with a new session in every header mode, first with storage that completes inline, then with storage
  // that makes requests wait.
  template <class Test>
  void in_every_mode() {
    for (bool immediate : {true, false}) {
      for (HeaderMode mode : kAllModes) {
        std::ranges::fill(storage().bytes, std::byte{0});
        storage().calls.clear();
        storage().immediate = immediate;
        SCOPED_TRACE(::testing::Message() << "mode " << static_cast<int>(mode) << ", immediate " << immediate);
        run(with_session<Test>(connect(mode)));
      }
    }
  }

 private:
  template <class Test>
  Task<void> with_session(std::unique_ptr<Session> session) {
    co_await body<Test>(*session);
    co_await session->end();
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionCommandTest);

// A coroutine of TransmissionCommandTest with a Session& session, run by in_every_mode().
#define TEST_IN_EVERY_MODE(name)                                           \
  struct name##Body;                                                       \
  template <>                                                              \
  Task<void> TransmissionCommandTest::body<name##Body>(Session & session); \
  TEST_P(TransmissionCommandTest, name) {                                  \
    in_every_mode<name##Body>();                                           \
  }                                                                        \
  template <>                                                              \
  Task<void> TransmissionCommandTest::body<name##Body>(Session & session)

TEST_IN_EVERY_MODE(WhatWasWrittenIsRead) {
  Answer written = co_await session.client.ask_write(512, bytes_of('a', 1000));
  EXPECT_EQ(written.error, 0u);
  Answer read = co_await session.client.ask(Command::kRead, 511, 1002);
  EXPECT_EQ(read.error, 0u);
  Bytes expected = bytes_of('a', 1002);
  expected.front() = expected.back() = std::byte{0};
  EXPECT_EQ(read.data, expected);
}

// Aligned for direct I/O, so the data need no bounce buffer.
TEST_IN_EVERY_MODE(AReadThatWaitsGoesToTheBorderOfAPage) {
  storage().read_addresses = 0;
  (void)co_await session.client.ask_write(4096, bytes_of('a', 4096));
  for (std::uint64_t length : {4096u, 512u, 8192u, 300u << 10}) {
    Answer read = co_await session.client.ask(Command::kRead, 4096, length);
    EXPECT_EQ(read.data.size(), length);
    EXPECT_EQ(read.data.front(), std::byte{'a'});
  }
  EXPECT_EQ(storage().read_addresses % 4096, 0u);
  if (!storage().immediate) EXPECT_NE(storage().read_addresses, 0u);
}

TEST_IN_EVERY_MODE(ALargeWriteComesInPieces) {
  Bytes data(900u << 10);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + i / 4096);
  Answer written = co_await session.client.ask_write(4097, data);
  EXPECT_EQ(written.error, 0u);
  EXPECT_TRUE(std::ranges::equal(data, std::span(storage().bytes).subspan(4097, data.size())));
  Answer read = co_await session.client.ask(Command::kRead, 4097, data.size());
  EXPECT_EQ(read.data, data);
}

TEST_IN_EVERY_MODE(EmptyRequestsSucceedAndDoNothing) {
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 0)).error, 0u);
  EXPECT_EQ((co_await session.client.ask_write(0, {})).error, 0u);
  EXPECT_EQ((co_await session.client.ask(Command::kTrim, 0, 0)).error, 0u);
  EXPECT_EQ((co_await session.client.ask(Command::kWriteZeroes, 0, 0)).error, 0u);
  EXPECT_TRUE(storage().calls.empty());
}

TEST_IN_EVERY_MODE(FlushTrimAndCacheReachTheNode) {
  (void)co_await session.client.ask_write(0, bytes_of('x', 512));
  storage().calls.clear();
  EXPECT_EQ((co_await session.client.ask(Command::kFlush, 0, 0)).error, 0u);
  EXPECT_EQ((co_await session.client.ask(Command::kTrim, 4096, 8192)).error, 0u);
  EXPECT_EQ((co_await session.client.ask(Command::kCache, 0, 4096)).error, 0u);
  EXPECT_EQ(storage().calls, (std::vector<std::string>{"flush", "discard 4096+8192", "prefetch 0+4096"}));
}

TEST_IN_EVERY_MODE(ZeroesMayUnmapUnlessNoHoleIsAskedFor) {
  (void)co_await session.client.ask_write(0, bytes_of('x', 8192));
  storage().calls.clear();
  EXPECT_EQ((co_await session.client.ask(Command::kWriteZeroes, 0, 4096)).error, 0u);
  EXPECT_EQ((co_await session.client.ask(Command::kWriteZeroes, 4096, 2048, command_flag::kNoHole)).error, 0u);
  EXPECT_EQ(storage().calls, (std::vector<std::string>{"unmapping zeroes 0+4096", "zeroes 4096+2048"}));
  EXPECT_EQ(storage().bytes[6143], std::byte{0});
  EXPECT_EQ(storage().bytes[6144], std::byte{'x'});
}

TEST_IN_EVERY_MODE(FastZeroesAreZeroesOrNotSupportedAndNoChange) {
  for (bool can : {false, true}) {
    for (std::uint16_t others : {std::uint16_t{0}, command_flag::kNoHole, command_flag::kFua}) {
      storage().zeroes_fast = can;
      std::ranges::fill(storage().bytes, std::byte{'x'});
      const auto flags = static_cast<std::uint16_t>(command_flag::kFastZero | others);
      Answer answer = co_await session.client.ask(Command::kWriteZeroes, 512, 4096, flags);
      EXPECT_EQ(answer.error, can ? 0u : static_cast<std::uint32_t>(NbdError::kNotSupported));
      const auto zeroes = std::ranges::count(storage().bytes, std::byte{0});
      EXPECT_EQ(zeroes, can ? 4096 : 0);
      EXPECT_EQ(storage().bytes[511], std::byte{'x'});
      EXPECT_EQ(storage().bytes[4608], std::byte{'x'});
    }
  }
}

// ENOTSUP has a special meaning in the protocol.
TEST_IN_EVERY_MODE(NothingElseIsAnsweredAsNotSupported) {
  storage().error = ENOTSUP;
  storage().immediate = false;
  const auto io = static_cast<std::uint32_t>(NbdError::kIo);
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 512)).error, io);
  EXPECT_EQ((co_await session.client.ask_write(0, bytes_of('x', 512))).error, io);
  EXPECT_EQ((co_await session.client.ask(Command::kTrim, 0, 4096)).error, io);
  EXPECT_EQ((co_await session.client.ask(Command::kWriteZeroes, 0, 4096)).error, io);
}

TEST_IN_EVERY_MODE(ForceUnitAccessIsDurableBeforeTheReply) {
  (void)co_await session.client.ask_write(0, bytes_of('x', 512), command_flag::kFua);
  EXPECT_EQ(storage().calls, std::vector<std::string>{"fua write 0+512"});
  (void)co_await session.client.ask_write(0, bytes_of('x', 512));
  storage().calls.clear();
  (void)co_await session.client.ask(Command::kTrim, 4096, 4096, command_flag::kFua);
  EXPECT_EQ(storage().calls, (std::vector<std::string>{"discard 4096+4096", "flush"}));
  storage().calls.clear();
  (void)co_await session.client.ask(Command::kWriteZeroes, 0, 4096, command_flag::kFua);
  EXPECT_EQ(storage().calls, std::vector<std::string>{"fua unmapping zeroes 0+4096"});
}

TASK_TEST_P(TransmissionCommandTest, WritethroughMakesEveryWriteDurable) {
  backing().writethrough = true;
  for (bool immediate : {true, false}) {
    for (HeaderMode mode : kAllModes) {
      storage().calls.clear();
      storage().immediate = immediate;
      auto session = connect(mode);
      EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('x', 512))).error, 0u);
      EXPECT_EQ(storage().calls, std::vector<std::string>{"fua write 0+512"});
      storage().calls.clear();
      EXPECT_EQ((co_await session->client.ask(Command::kWriteZeroes, 0, 4096)).error, 0u);
      EXPECT_EQ(storage().calls, std::vector<std::string>{"fua unmapping zeroes 0+4096"});
      co_await session->end();
    }
  }
}

TEST_IN_EVERY_MODE(ErrorsAreAnsweredAndTheConnectionGoesOn) {
  storage().error = EIO;
  const auto io_error = static_cast<std::uint32_t>(NbdError::kIo);
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 512)).error, io_error);
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 512u << 10)).error, io_error);
  EXPECT_EQ((co_await session.client.ask_write(0, bytes_of('x', 512))).error, io_error);
  EXPECT_EQ((co_await session.client.ask_write(0, bytes_of('x', 512u << 10))).error, io_error);
  EXPECT_EQ((co_await session.client.ask(Command::kTrim, 0, 4096)).error, io_error);
  EXPECT_EQ((co_await session.client.ask(Command::kWriteZeroes, 0, 4096)).error, io_error);
  storage().error = ENOSPC;
  EXPECT_EQ((co_await session.client.ask_write(0, bytes_of('x', 512))).error,
            static_cast<std::uint32_t>(NbdError::kNoSpace));
  storage().error = 0;
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 512)).data, bytes_of(0, 512));
}

TEST_IN_EVERY_MODE(ARefusedWriteSkipsItsPayload) {
  std::uint64_t end = storage().bytes.size();
  for (std::size_t length : {512u, 100u << 10, 3u << 20}) {
    Answer answer = co_await session.client.ask_write(end - 256, bytes_of('x', length));
    EXPECT_EQ(answer.error, static_cast<std::uint32_t>(NbdError::kNoSpace));
  }
  EXPECT_EQ((co_await session.client.ask(Command::kRead, end - 256, 256)).data, bytes_of(0, 256));
}

TASK_TEST_P(TransmissionCommandTest, AReadOnlyExportRefusesWrites) {
  auto session = connect(make_state(HeaderMode::kStructured, storage().bytes.size(), true));
  Answer answer = co_await session->client.ask_write(0, bytes_of('x', 512));
  EXPECT_EQ(answer.error, static_cast<std::uint32_t>(NbdError::kNotPermitted));
  EXPECT_FALSE(answer.text.empty());
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 512)).data, bytes_of(0, 512));
  co_await session->end();
}

TEST_IN_EVERY_MODE(AnUnknownCommandIsAnsweredAndTheConnectionGoesOn) {
  Answer answer = co_await session.client.ask(static_cast<Command>(77), 0, 0);
  EXPECT_EQ(answer.error, static_cast<std::uint32_t>(NbdError::kInvalid));
  EXPECT_EQ((co_await session.client.ask(Command::kRead, 0, 512)).data, bytes_of(0, 512));
}

TEST_P(TransmissionCommandTest, AWrongMagicEndsTheConnection) {
  for (HeaderMode mode : kAllModes) {
    run([](std::unique_ptr<Session> session) -> Task<void> {
      (void)co_await session->client.send(bytes_of('?', 64));
      while (!(co_await session->client.answer()).ended) continue;
      co_await session->ended();
      EXPECT_FALSE(session->running());
    }(connect(mode)));
  }
}

TEST_P(TransmissionCommandTest, BlockStatusAnswersForEveryContext) {
  storage().bytes[8192] = std::byte{1};
  for (HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    run([](std::unique_ptr<Session> session) -> Task<void> {
      Answer answer = co_await session->client.ask(Command::kBlockStatus, 0, 20480);
      EXPECT_EQ(answer.error, 0u);
      using Extents = std::vector<Answer::Status>;
      EXPECT_EQ(answer.status[0], (Extents{{8192, 3}, {4096, 0}, {8192, 3}}));
      EXPECT_EQ(answer.status[1], (Extents{{8192, 0}, {4096, 1}, {8192, 0}}));
      Answer one = co_await session->client.ask(Command::kBlockStatus, 4096, 20480, kOneExtent);
      EXPECT_EQ(one.status[0], (Extents{{4096, 3}}));
      co_await session->end();
    }(connect(mode)));
  }
}

TASK_TEST_P(TransmissionCommandTest, BlockStatusOfOneContextByPayload) {
  auto session = connect(HeaderMode::kExtended);
  Bytes filter = ClientBytes().u64(8192).u32(1).bytes();
  Bytes request =
      session->client.codec().request(Command::kBlockStatus, 5, 0, filter.size(), command_flag::kPayloadLength, filter);
  (void)co_await session->client.send(request);
  Answer answer = co_await session->client.answer();
  EXPECT_EQ(answer.error, 0u);
  EXPECT_EQ(answer.status.size(), 1u);
  EXPECT_EQ(answer.status[1], (std::vector<Answer::Status>{{8192, 0}}));
  Bytes wrong = ClientBytes().u64(8192).u32(7).bytes();
  request =
      session->client.codec().request(Command::kBlockStatus, 6, 0, wrong.size(), command_flag::kPayloadLength, wrong);
  (void)co_await session->client.send(request);
  EXPECT_EQ((co_await session->client.answer()).error, static_cast<std::uint32_t>(NbdError::kInvalid));
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 512)).error, 0u);
  co_await session->end();
}

}  // namespace
}  // namespace blockexport::nbd::testing
