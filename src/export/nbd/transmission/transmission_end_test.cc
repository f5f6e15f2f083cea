// Transmission: ends of a session, by the client's disconnect or death, and by soft, orderly or hard removal of the
// export.
#include <gtest/gtest.h>

#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr auto kShutdown = static_cast<std::uint32_t>(NbdError::kShutdown);

class TransmissionEndTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();

  // Long enough for everything that does not wait for the gates.
  Task<void> settle() {
    for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  }
  // A session whose first request, a write with cookie 1, does not complete before `gate` opens.
  Task<std::unique_ptr<Session>> with_a_held_write(aio::Event& gate) {
    storage().write_gate = &gate;
    storage().immediate = false;
    auto session = connect();
    (void)co_await session->client.write(1, 0, bytes_of('x', 512));
    co_await until([this] { return storage().waiting == 1; });
    co_return session;
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionEndTest);

TASK_TEST_P(TransmissionEndTest, DisconnectWaitsForRequestsUnderWay) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  auto session = connect();
  (void)co_await session->client.request(Command::kRead, 1, 0, 512);
  (void)co_await session->client.request(Command::kDisconnect, 2, 0, 0);
  (void)co_await session->client.request(Command::kRead, 3, 0, 512);
  co_await until([this] { return storage().waiting == 1; });
  co_await settle();
  EXPECT_TRUE(session->running());
  gate.set();
  EXPECT_EQ((co_await session->client.answer()).cookie, 1u);
  EXPECT_TRUE((co_await session->client.answer()).ended);
  co_await session->ended();
}

TASK_TEST_P(TransmissionEndTest, AClientThatDiesInTheMiddleOfAPayloadChangesNothing) {
  for (std::size_t sent : {100u, 60u << 10, 200u << 10, 299u << 10}) {
    auto session = connect();
    Bytes write = session->client.codec().write(1, 0, bytes_of('x', 300u << 10));
    write.resize(sent);
    (void)co_await session->client.send(write);
    co_await settle();
    co_await session->end();
  }
  EXPECT_TRUE(std::ranges::all_of(storage().bytes, [](std::byte value) { return value == std::byte{0}; }));
  EXPECT_EQ(backing().budget.used_bytes(), 0u);
}

TASK_TEST_P(TransmissionEndTest, ADroppedSessionEndsAndItsRequestsAreFinished) {
  aio::Event gate(reactor());
  storage().write_gate = &gate;
  storage().immediate = false;
  auto session = connect();
  (void)co_await session->client.write(1, 0, bytes_of('x', 512));
  (void)co_await session->client.write(2, 4096, bytes_of('y', 200u << 10));
  co_await until([this] { return storage().waiting == 2; });
  session->transmission.drop();
  EXPECT_TRUE((co_await session->client.answer()).ended);
  EXPECT_TRUE(session->running());
  gate.set();
  co_await session->ended();
  EXPECT_EQ(storage().bytes[0], std::byte{'x'});
}

TASK_TEST_P(TransmissionEndTest, AFinishedSessionAnswersRunningRequestsAndRefusesTheOthers) {
  aio::Event gate(reactor());
  auto session = co_await with_a_held_write(gate);
  (void)co_await session->client.request(Command::kRead, 2, 0, 512);
  session->transmission.finish();
  co_await settle();
  EXPECT_TRUE(session->running());
  gate.set();
  for (int i = 0; i < 2; ++i) {
    Answer answer = co_await session->client.answer();
    EXPECT_EQ(answer.error, answer.cookie == 1 ? 0u : kShutdown) << answer.cookie;
  }
  EXPECT_TRUE((co_await session->client.answer()).ended);
  co_await session->ended();
}

TASK_TEST_P(TransmissionEndTest, AnIdleSessionIsFinishedAtOnce) {
  auto session = connect();
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 512)).error, 0u);
  session->transmission.finish();
  EXPECT_TRUE((co_await session->client.answer()).ended);
  co_await session->ended();
}

TASK_TEST_P(TransmissionEndTest, ARefusedSessionAnswersEveryRequestWithShutdown) {
  for (HeaderMode mode : kAllModes) {
    aio::Event gate(reactor());
    storage().read_gate = &gate;
    storage().immediate = false;
    auto session = connect(mode);
    (void)co_await session->client.request(Command::kRead, 1, 0, 512);
    co_await until([this] { return storage().waiting == 1; });
    session->transmission.refuse();
    EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 512)).error, kShutdown);
    EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('x', 300u << 10))).error, kShutdown);
    EXPECT_EQ((co_await session->client.ask(Command::kFlush, 0, 0)).error, kShutdown);
    gate.set();
    EXPECT_EQ((co_await session->client.answer()).cookie, 1u);
    (void)co_await session->client.request(Command::kDisconnect, 2, 0, 0);
    co_await session->ended();
  }
}

TASK_TEST_P(TransmissionEndTest, EveryEndInTheMiddleOfALargeWriteReleasesItsMemory) {
  for (int how = 0; how < 3; ++how) {
    auto session = connect();
    Bytes write = session->client.codec().write(1, 0, bytes_of('x', 600u << 10));
    write.resize(400u << 10);
    (void)co_await session->client.send(write);
    co_await settle();
    if (how == 0) session->transmission.drop();
    if (how == 1) session->transmission.finish();
    if (how == 2) {
      session->transmission.refuse();
      session->client.close();
    }
    co_await session->ended();
  }
  EXPECT_EQ(storage().bytes[0], std::byte{0});
}

// The memory became free at the same moment in which the session was refused.
TASK_TEST_P(TransmissionEndTest, TheMemoryOfARequestThatIsThenRefusedIsReleased) {
  storage().immediate = false;
  StreamScript script{.ends = false, .reads = false};
  ClientCodec codec(HeaderMode::kStructured);
  for (std::uint64_t cookie = 0; cookie < 80; ++cookie) {
    script.input.push_back(codec.request(Command::kRead, cookie, 0, 1u << 20));
  }
  auto stream = std::make_unique<ScriptedStream>(reactor(), script);
  Transmission transmission(backing().context(), std::move(stream),
                            make_state(HeaderMode::kStructured, storage().bytes.size()), {});
  aio::Scope scope(reactor());
  scope.spawn("transmission", transmission.run());
  co_await until([&] { return backing().budget.used_bytes() > (60u << 20); });
  co_await settle();
  transmission.refuse();
  transmission.finish();
  co_await settle();
  transmission.drop();
  co_await scope.join();
}

TASK_TEST_P(TransmissionEndTest, AFinishedSessionStillAnswersSlowRequests) {
  if (!simulated()) CO_SKIP("takes the grace time");
  aio::Event gate(reactor());
  auto session = co_await with_a_held_write(gate);
  session->transmission.finish();
  (void)co_await reactor().sleep_until(reactor().now_ns() + 2 * kCloseGraceNs);
  gate.set();
  Answer answer = co_await session->client.answer();
  EXPECT_FALSE(answer.ended);
  EXPECT_EQ(answer.error, 0u);
  co_await session->end();
}

TASK_TEST_P(TransmissionEndTest, AClientThatDoesNotReadIsDisconnectedAfterTheGrace) {
  if (!simulated()) CO_SKIP("takes the grace time");
  auto session = connect();
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie) {
    (void)co_await session->client.request(Command::kRead, cookie, 0, 1u << 20);
  }
  (void)co_await session->client.request(Command::kDisconnect, 9, 0, 0);
  std::uint64_t began_ns = reactor().now_ns();
  co_await session->ended();
  EXPECT_GE(reactor().now_ns() - began_ns, kCloseGraceNs);
  co_await session->end();
}

// A request ends in the same turn in which the session is finished: requests received after it still get replies.
TASK_TEST_P(TransmissionEndTest, FinishingAsTheLastRequestEndsLosesNoReply) {
  for (int round = 0; round < 20; ++round) {
    aio::Event gate(reactor());
    auto session = co_await with_a_held_write(gate);
    gate.set();
    for (int turn = 0; turn < round % 4; ++turn) co_await aio::next_turn();
    (void)co_await session->client.request(Command::kRead, 2, 0, 512);
    session->transmission.finish();
    EXPECT_FALSE((co_await session->client.answer()).ended);
    EXPECT_FALSE((co_await session->client.answer()).ended) << round;
    EXPECT_TRUE((co_await session->client.answer()).ended);
    co_await session->ended();
  }
}

}  // namespace
}  // namespace blockexport::nbd::testing
