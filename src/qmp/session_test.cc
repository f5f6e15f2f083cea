#include "qmp/session.h"

#include <gtest/gtest.h>

#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "json/writer.h"
#include "net/socket_stream.h"
#include "qmp/testing/echo_runner.h"

namespace blockexport::qmp {
namespace {

using aio::Task;

constexpr std::string_view kGreeting =
    R"({"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 3}, "package": "test"}, )"
    R"("capabilities": ["oob"]}})";
constexpr std::string_view kNegotiate = R"({"execute": "qmp_capabilities"})";
constexpr std::string_view kNegotiateOutOfBand = R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})";
constexpr std::string_view kSuccess = R"({"return": {}})";

class SessionTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    events_.emplace(reactor());
    runner_.emplace(*events_);
    scope_.emplace(reactor());
  }
  void TearDown() override {
    if (!scope_) return;
    client_.reset();
    run(scope_->join());
    run(events_->close());
  }

  // A session with a client that has read the greeting.
  Task<void> start(bool pretty = false, bool offers_out_of_band = true) {
    auto [server_end, client_end] = make_socket_pair();
    auto stream = std::make_unique<net::SocketStream>(reactor(), server_end);
    client_ = std::make_unique<net::SocketStream>(reactor(), client_end);
    SessionContext context{.reactor = reactor(),
                           .runner = *runner_,
                           .events = *events_,
                           .log = log_,
                           .pretty = pretty,
                           .offers_out_of_band = offers_out_of_band};
    scope_->spawn("session", serve(context, std::move(stream)));
    if (!pretty && offers_out_of_band) EXPECT_EQ(co_await line(), kGreeting);
  }
  Task<void> start_negotiated() {
    co_await start();
    EXPECT_EQ(co_await ask(kNegotiate), kSuccess);
  }
  Task<void> start_out_of_band() {
    co_await start();
    EXPECT_EQ(co_await ask(kNegotiateOutOfBand), kSuccess);
  }
  Task<void> serve(SessionContext context, std::unique_ptr<net::Stream> stream) {
    Session session(context, std::move(stream));
    session_ = &session;
    co_await session.run();
    session_ = nullptr;
  }

  Task<void> say(std::string_view text) {
    EXPECT_TRUE(co_await net::send_all(*client_, std::as_bytes(std::span(text))));
  }
  // The next line without its end; "" at the end of the stream.
  Task<std::string> line() {
    for (;;) {
      if (std::size_t end = received_.find("\r\n"); end != std::string::npos) {
        std::string first = received_.substr(0, end);
        received_.erase(0, end + 2);
        co_return first;
      }
      std::array<std::byte, 65536> buffer;
      IoCount count = co_await net::receive_some(*client_, buffer);
      if (!count || *count == 0) co_return std::string();
      received_.append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
  }
  Task<std::string> ask(std::string_view text) {
    co_await say(text);
    co_return co_await line();
  }
  // Cancels the session while the first of these commands runs: only that one gets a reply.
  Task<void> cancel_during(std::string_view commands) {
    co_await say(commands);
    co_await aio::testing::until(reactor(), [this] { return runner_->commands == 1; });
    scope_->cancel();
    EXPECT_EQ(co_await line(), R"({"return": {}, "id": 1})");
    EXPECT_EQ(co_await line(), "");
  }
  Task<void> pause() {
    for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 200'000);
  }

  Log log_{"session_test", 2, LogLevel::kError};
  std::optional<EventQueue> events_;
  std::optional<testing::EchoRunner> runner_;
  std::optional<aio::Scope> scope_;
  std::unique_ptr<net::Stream> client_;
  Session* session_ = nullptr;  // while it runs
  std::string received_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(SessionTest);

std::string error(std::string_view kind, std::string_view text, std::string_view id = "") {
  return R"({"error": {"class": ")" + std::string(kind) + R"(", "desc": ")" + std::string(text) + R"("})" +
         std::string(id) + "}";
}

TASK_TEST_P(SessionTest, OnlyNegotiationComesBeforeCommands) {
  co_await start();
  EXPECT_EQ(co_await ask(R"({"execute": "echo"})"),
            error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
  EXPECT_EQ(runner_->commands, 0u);
  EXPECT_EQ(co_await ask(kNegotiate), kSuccess);
  EXPECT_EQ(co_await ask(kNegotiate),
            error("CommandNotFound", "Capabilities negotiation is already complete, command ignored"));
  EXPECT_EQ(co_await ask(R"({"execute": "echo", "arguments": {"a": 1}})"), R"({"return": {"a": 1}})");
}

TASK_TEST_P(SessionTest, AFailedNegotiationCanBeRepeated) {
  co_await start();
  EXPECT_EQ(co_await ask(R"({"execute": "qmp_capabilities", "arguments": {"x": 1}})"),
            error("GenericError", "Parameter 'x' is unexpected"));
  EXPECT_EQ(co_await ask(R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})"), kSuccess);
  EXPECT_EQ(co_await ask(R"({"exec-oob": "echo"})"), kSuccess);
}

TASK_TEST_P(SessionTest, TheIdIsEchoedWhateverItIs) {
  co_await start_negotiated();
  for (std::string_view id : {"7", "\"a\"", "null", "[1, {\"b\": true}]", "18446744073709551615"}) {
    std::string message = R"({"execute": "echo", "id": )" + std::string(id) + "}";
    EXPECT_EQ(co_await ask(message), R"({"return": {}, "id": )" + std::string(id) + "}");
  }
  EXPECT_EQ(co_await ask(R"({"execute": "fail", "id": 3})"),
            error("DeviceNotFound", "Device 'x' not found", R"(, "id": 3)"));
  EXPECT_EQ(co_await ask(R"({"execute": 5, "id": 4})"),
            error("GenericError", "QMP input member 'execute' must be a string", R"(, "id": 4)"));
}

TASK_TEST_P(SessionTest, MalformedMessagesAreToldApart) {
  co_await start_negotiated();
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"([])", "QMP input must be a JSON object"},
      {R"({})", "QMP input lacks member 'execute'"},
      {R"({"execute": "echo", "extra": 1})", "QMP input member 'extra' is unexpected"},
      {R"({"execute": "echo", "arguments": []})", "QMP input member 'arguments' must be an object"},
      {R"({"exec-oob": "echo"})", "QMP input member 'exec-oob' is unexpected"},
  };
  for (auto [message, text] : cases) EXPECT_EQ(co_await ask(message), error("GenericError", text));
  std::string broken = co_await ask("{\"execute\": }\n");
  EXPECT_EQ(broken, error("GenericError", "1:135: JSON parse error, expecting value"));
  EXPECT_EQ(co_await ask(R"({"execute": "nonsense"})"),
            error("CommandNotFound", "The command nonsense has not been found"));
}

TASK_TEST_P(SessionTest, BothVerbsClash) {
  co_await start();
  (void)co_await ask(R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})");
  EXPECT_EQ(co_await ask(R"({"execute": "echo", "exec-oob": "echo"})"),
            error("GenericError", "QMP input member 'exec-oob' clashes with 'execute'"));
}

TASK_TEST_P(SessionTest, WhatIsOutOfBandOvertakesWhatRunsAndWaits) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_out_of_band();
  co_await say(R"({"execute": "slow", "id": 1} {"execute": "echo", "id": 2} {"execute": )");
  co_await say(R"(5, "id": 3} {"exec-oob": "echo", "id": 4} {"exec-oob": "big", "id": 5})");
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 4})");
  EXPECT_EQ(co_await line(), error("GenericError", "The command big does not support OOB", R"(, "id": 5)"));
  EXPECT_EQ(runner_->most_at_once, 2);
  gate.set();
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 1})");
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 2})");
  EXPECT_EQ(co_await line(), error("GenericError", "QMP input member 'execute' must be a string", R"(, "id": 3)"));
}

TASK_TEST_P(SessionTest, NoMoreCommandsWaitThanAllowed) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_out_of_band();
  // One command runs, kInBandQueueMax wait; the session does not read further ones.
  for (std::size_t id = 0; id <= kInBandQueueMax; ++id) {
    co_await say(R"({"execute": "slow", "id": )" + std::to_string(id) + "}");
  }
  co_await say(R"({"exec-oob": "echo", "id": 100})");
  co_await pause();
  EXPECT_EQ(runner_->commands, 1u);
  gate.set();
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 0})");
  bool overtook = false;
  for (std::size_t i = 0; i <= kInBandQueueMax; ++i) overtook |= co_await line() == R"({"return": {}, "id": 100})";
  EXPECT_TRUE(overtook);
}

TASK_TEST_P(SessionTest, CommandsThatWaitAreDroppedWithTheirClient) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_out_of_band();
  co_await say(R"({"execute": "slow", "id": 1} {"execute": "echo", "id": 2})");
  co_await aio::testing::until(reactor(), [this] { return runner_->commands == 1; });
  client_.reset();
  co_await pause();
  gate.set();
  co_await scope_->join();
  EXPECT_EQ(runner_->commands, 1u);
}

TASK_TEST_P(SessionTest, ACancelledSessionCancelsTheCommandThatRunsInBand) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_out_of_band();
  co_await cancel_during(R"({"execute": "slow", "id": 1} {"execute": "echo", "id": 2})");
}

TASK_TEST_P(SessionTest, WhatIsNotOfferedCannotBeEnabled) {
  co_await start(false, false);
  std::string greeting = co_await line();
  EXPECT_NE(greeting.find(R"("capabilities": [])"), std::string::npos) << greeting;
  EXPECT_EQ(co_await ask(kNegotiateOutOfBand), error("GenericError", "Capability oob not available"));
  EXPECT_EQ(co_await ask(kNegotiate), kSuccess);
}

TASK_TEST_P(SessionTest, AMessageMayComeByteByByteAndWithoutSeparators) {
  co_await start_negotiated();
  std::string two = R"({"execute":"echo","id":1}{"execute":"echo","id":2})";
  for (char byte : two) {
    co_await say({&byte, 1});
    co_await aio::next_turn();
  }
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 1})");
  EXPECT_EQ(co_await line(), R"({"return": {}, "id": 2})");
}

TASK_TEST_P(SessionTest, CommandsRunOneAfterTheOther) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_negotiated();
  co_await say(R"({"execute": "slow", "id": 1} {"execute": "slow", "id": 2} {"execute": "echo", "id": 3})");
  co_await pause();
  EXPECT_EQ(runner_->commands, 1u);
  gate.set();
  for (int id = 1; id <= 3; ++id) {
    EXPECT_EQ(co_await line(), R"({"return": {}, "id": )" + std::to_string(id) + "}");
  }
  EXPECT_EQ(runner_->most_at_once, 1);
}

TASK_TEST_P(SessionTest, EventsComeOnlyAfterNegotiation) {
  co_await start();
  events_->emit(json::Object{{"event", "EARLY"}});
  EXPECT_EQ(co_await ask(kNegotiate), kSuccess);
  events_->emit(json::Object{{"event", "LATE"}, {"data", json::Object{{"a", 1}}}});
  std::string event = co_await line();
  EXPECT_NE(event.find(R"("event": "LATE")"), std::string::npos) << event;
  EXPECT_NE(event.find(R"("timestamp": {"seconds": )"), std::string::npos) << event;
}

TASK_TEST_P(SessionTest, AClientThatDoesNotReadGetsNoFurtherCommandRun) {
  co_await start_negotiated();
  constexpr std::size_t kCommands = 30;
  std::string many;
  for (std::size_t i = 0; i < kCommands; ++i) many += R"({"execute": "big"})";
  co_await say(many);
  co_await pause();
  EXPECT_LE(runner_->commands, 3 * kOutputBytesMax / testing::EchoRunner::kBigBytes);
  for (std::size_t i = 0; i < kCommands; ++i) {
    EXPECT_GT((co_await line()).size(), testing::EchoRunner::kBigBytes);
  }
  EXPECT_EQ(runner_->commands, kCommands);
}

TASK_TEST_P(SessionTest, AClientThatDoesNotReadItsEventsIsDisconnected) {
  co_await start_negotiated();
  json::Object event{{"event", "HAPPENED"}, {"data", json::Object{{"text", std::string(100'000, 'x')}}}};
  for (int i = 0; i < 200; ++i) events_->emit(json::Object(event));
  co_await scope_->join();
  EXPECT_EQ(scope_->size(), 0u);
}

TASK_TEST_P(SessionTest, TheSessionEndsWithItsClientAndDropsWhatIsHalfParsed) {
  co_await start_negotiated();
  co_await say(R"({"execute": "echo", "argum)");
  co_await pause();
  client_.reset();
  co_await scope_->join();
  EXPECT_EQ(runner_->commands, 0u);
}

// --- docs/loops.md: reader, sender and worker of a session end each other ---

TASK_TEST_P(SessionTest, ASenderThatEndsFreesAReaderThatWaitsForRoomInTheOutput) {
  co_await start_negotiated();
  constexpr std::size_t kCommands = 30;
  std::string many;
  for (std::size_t i = 0; i < kCommands; ++i) many += R"({"execute": "big"})";
  co_await say(many);
  co_await pause();
  client_.reset();
  co_await scope_->join();
  EXPECT_LT(runner_->commands, kCommands);
}

TASK_TEST_P(SessionTest, ASenderThatEndsFreesAReaderThatWaitsForACommandSlot) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_out_of_band();
  std::string many = R"({"execute": "slow"})";
  for (std::size_t i = 0; i < 2 * kInBandQueueMax; ++i) many += R"({"execute": "echo"})";
  co_await say(many);
  co_await aio::testing::until(reactor(), [this] { return runner_->commands == 1; });
  client_.reset();
  // The first message to the client shows that it has gone.
  events_->emit(json::Object{{"event", "HAPPENED"}});
  co_await pause();
  gate.set();
  co_await scope_->join();
  EXPECT_EQ(runner_->commands, 1u);
}

TASK_TEST_P(SessionTest, WhatWasNotBegunIsDroppedWhenTheClientIsGone) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_negotiated();
  co_await say(R"({"execute": "slow"} {"execute": "echo"} {"execute": "echo"} {"execute": "echo"})");
  co_await aio::testing::until(reactor(), [this] { return runner_->commands == 1; });
  client_.reset();
  gate.set();
  co_await scope_->join();
  EXPECT_LE(runner_->commands, 2u);
}

TASK_TEST_P(SessionTest, AReaderThatEndsCutsASenderWhoseClientDoesNotRead) {
  co_await start_negotiated();
  co_await say(R"({"execute": "big"} {"execute": "big"} {"execute": "big"})");
  co_await aio::testing::until(reactor(), [this] { return runner_->commands == 3; });
  // Cancelled, or half-closed by a client that can still read: for the session both end the input.
  scope_->cancel();
  co_await scope_->join();
  EXPECT_EQ(scope_->size(), 0u);
}

TASK_TEST_P(SessionTest, OthersHaveTheirTurnBetweenCommandsThatCameTogether) {
  co_await start_negotiated();
  constexpr std::size_t kCommands = 100;
  std::string many;
  for (std::size_t i = 0; i < kCommands; ++i) many += R"({"execute": "echo"})";
  co_await say(many);
  std::size_t turns = 0;
  while (runner_->commands < kCommands) {
    const std::size_t before = runner_->commands;
    co_await aio::next_turn();
    EXPECT_LE(runner_->commands - before, 1u);
    ++turns;
  }
  EXPECT_GE(turns, kCommands);
}

TASK_TEST_P(SessionTest, ACancelledSessionSendsWhatWasAnswered) {
  aio::Event gate(reactor());
  runner_->gate = &gate;
  co_await start_negotiated();
  co_await cancel_during(R"({"execute": "slow", "id": 1})");
}

// Counts the commands that run in each turn.
Task<void> watch_turns(const testing::EchoRunner& runner, std::size_t& most, const bool& over) {
  std::size_t seen = runner.commands;
  while (!over) {
    co_await aio::next_turn();
    most = std::max<std::size_t>(most, runner.commands - seen);
    seen = runner.commands;
  }
}

// All commands of the client have arrived, so the session never waits for input.
TASK_TEST_P(SessionTest, OneCommandIsRunInATurn) {
  if (simulated()) CO_SKIP("its time stands still while the watch runs");
  constexpr std::size_t kCommands = 300;
  co_await start_negotiated();
  std::size_t most = 0;
  bool over = false;
  aio::Scope watch(reactor());
  watch.spawn("watch", watch_turns(*runner_, most, over));
  std::string commands;
  for (std::size_t i = 0; i < kCommands; ++i) commands += R"({"execute": "echo"} )";
  co_await say(commands);
  for (std::size_t i = 0; i < kCommands; ++i) EXPECT_NE(co_await line(), "");
  over = true;
  co_await watch.join();
  EXPECT_EQ(runner_->commands, kCommands);
  EXPECT_EQ(most, 1u);
}

TASK_TEST_P(SessionTest, PrettyOutputIsIndented) {
  co_await start(true);
  EXPECT_EQ(co_await line(), "{");
  EXPECT_EQ(co_await line(), "    \"QMP\": {");
}

TASK_TEST_P(SessionTest, BetweenMessagesSoMuchRoomForOutputIsKeptAndNoMore) {
  constexpr std::size_t kKeptBytes = 64u << 10;
  co_await start_negotiated();
  std::size_t most_kept_bytes = 0;
  for (std::size_t bytes = 8u << 10; bytes < 2 * kKeptBytes; bytes += 4u << 10) {
    const std::string text(bytes, 'x');
    // Twice: output that is collected while the sender is busy has a buffer of its own.
    for (int i = 0; i < 2; ++i) {
      co_await say(R"({"execute": "echo", "arguments": {"a": ")" + text + R"("}})");
      EXPECT_EQ(co_await line(), R"({"return": {"a": ")" + text + R"("}})");
    }
    // The next reply shows that the previous one has been sent completely.
    EXPECT_EQ(co_await ask(R"({"execute": "echo"})"), kSuccess);
    EXPECT_LE(session_->output_capacity_bytes(), kKeptBytes) << bytes;
    most_kept_bytes = std::max(most_kept_bytes, session_->output_capacity_bytes());
  }
  EXPECT_GT(most_kept_bytes, kKeptBytes / 2);
}

}  // namespace
}  // namespace blockexport::qmp
