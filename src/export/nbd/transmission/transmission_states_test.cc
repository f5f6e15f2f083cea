// Transmission: the state table of export/engine/session_states.h; its sessions reach each transition and each wait.
#include <gtest/gtest.h>

#include "aio/task/current.h"
#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;
using exports::Ending;
using exports::EndingCause;
using exports::EndingTransition;
using exports::Phase;
using exports::ReaderWait;
using exports::SenderWait;

constexpr std::size_t kLargeBytes = 1u << 20;

class TransmissionStatesTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();

  static const exports::SessionStates& states(const Session& session) { return session.transmission.states(); }
  Task<void> until_reading(const Session& session, ReaderWait wait) {
    co_await until([&session, wait] { return states(session).reader_wait() == wait; });
  }
  Task<void> until_sending(const Session& session, SenderWait wait) {
    co_await until([&session, wait] { return states(session).sender_wait() == wait; });
  }
  Task<void> until_ending(const Session& session, Ending ending) {
    co_await until([&session, ending] { return states(session).ending() == ending; });
  }
  // From now on other connections hold all memory of the process.
  void take_all_memory() {
    EXPECT_TRUE(backing().budget.try_take(aio::ProcessBudget::kBytesDefault));
    memory_is_taken_ = true;
  }
  void give_memory_back() {
    if (std::exchange(memory_is_taken_, false)) backing().budget.give_back(aio::ProcessBudget::kBytesDefault);
  }

  // Makes a session with a read under way reach `ending` by the ending's cause.
  Task<void> bring_to(Session& session, Ending ending) {
    if (ending == Ending::kSuspended) {
      // The sender must be waiting for the client, so that it notices the loss.
      storage().immediate = true;
      for (std::uint64_t cookie = 10; cookie < 18; ++cookie) {
        (void)co_await session.client.request(Command::kRead, cookie, 0, kLargeBytes);
      }
      co_await until_sending(session, SenderWait::kClient);
      storage().immediate = false;
    }
    (void)co_await session.client.request(Command::kRead, 1, 0, 512);
    co_await until([this] { return storage().waiting > 0; });
    if (ending == Ending::kSuspended) EXPECT_TRUE(session.transmission.suspend());
    if (ending == Ending::kClientLeft) (void)co_await session.client.request(Command::kDisconnect, 2, 0, 0);
    if (ending == Ending::kFinishing) session.transmission.finish();
    co_await until_ending(session, ending);
  }
  Task<void> cause(Session& session, const EndingTransition& transition, aio::Event& gate) {
    switch (transition.cause) {
      case EndingCause::kReader:
        (void)co_await session.client.request(Command::kDisconnect, 3, 0, 0);
        break;
      case EndingCause::kServer:
        if (transition.to == Ending::kSuspended) {
          EXPECT_TRUE(session.transmission.suspend());
        } else {
          session.transmission.finish();
        }
        break;
      case EndingCause::kRemoval:
        session.transmission.drop();
        break;
      case EndingCause::kConnection:
        if (transition.from == Ending::kOpen) {
          // A reader that waits for input would see the end of the stream, and take it as a disconnect.
          backing().fence.raise();
          (void)co_await session.client.request(Command::kRead, 3, 0, 512);
          co_await until_reading(session, ReaderWait::kFence);
        }
        session.client.close();
        if (transition.from == Ending::kClientLeft || transition.from == Ending::kFinishing) gate.set();
        break;
    }
  }

 private:
  bool memory_is_taken_ = false;
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionStatesTest);

TASK_TEST_P(TransmissionStatesTest, EachCauseMakesItsTransition) {
  for (const EndingTransition& transition : exports::kEndingTransitions) {
    SCOPED_TRACE(::testing::Message() << static_cast<int>(transition.from) << " to "
                                      << static_cast<int>(transition.to));
    aio::Event gate(reactor());
    storage().read_gate = &gate;
    storage().immediate = false;
    auto session = connect();
    co_await bring_to(*session, transition.from);
    co_await cause(*session, transition, gate);
    co_await until_ending(*session, transition.to);
    if (backing().fence.is_up()) backing().fence.lower();
    gate.set();
    co_await session->ended();
    EXPECT_EQ(states(*session).phase(), Phase::kEnded);
    EXPECT_EQ(states(*session).ending(), transition.to);
    EXPECT_EQ(states(*session).reader_wait(), ReaderWait::kNone);
    EXPECT_EQ(states(*session).sender_wait(), SenderWait::kNone);
  }
}

TASK_TEST_P(TransmissionStatesTest, PhasesFollowEachOther) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  auto session = connect();
  co_await bring_to(*session, Ending::kOpen);
  EXPECT_EQ(states(*session).phase(), Phase::kServing);
  (void)co_await session->client.request(Command::kDisconnect, 2, 0, 0);
  co_await until([&session] { return states(*session).phase() == Phase::kAnswering; });
  EXPECT_TRUE(session->transmission.has_requests_in_flight());
  gate.set();
  EXPECT_EQ((co_await session->client.answer()).cookie, 1u);
  co_await session->ended();
  EXPECT_EQ(states(*session).phase(), Phase::kEnded);
}

TASK_TEST_P(TransmissionStatesTest, AClientThatDoesNotReadKeepsADrainingSession) {
  auto session = connect();
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie) {
    (void)co_await session->client.request(Command::kRead, cookie, 0, kLargeBytes);
  }
  (void)co_await session->client.request(Command::kDisconnect, 9, 0, 0);
  co_await until([&session] { return states(*session).phase() == Phase::kDraining; });
  EXPECT_EQ(states(*session).sender_wait(), SenderWait::kClient);
  for (int i = 0; i < 8; ++i) EXPECT_FALSE((co_await session->client.answer()).ended);
  co_await session->ended();
}

TASK_TEST_P(TransmissionStatesTest, AnIdleSessionWaitsForInputAndReplies) {
  auto session = connect();
  co_await until_reading(*session, ReaderWait::kInput);
  co_await until_sending(*session, SenderWait::kReplies);
  co_await session->end();
}

TASK_TEST_P(TransmissionStatesTest, TheReaderWaitsForThePayloadOfALargeWrite) {
  auto session = connect();
  Bytes write = session->client.codec().write(1, 0, bytes_of('x', 300u << 10));
  write.resize(100u << 10);
  (void)co_await session->client.send(write);
  co_await until_reading(*session, ReaderWait::kPayload);
  co_await session->end();
}

TASK_TEST_P(TransmissionStatesTest, TheReaderWaitsForMemoryForSmallReplies) {
  take_all_memory();
  auto session = connect();
  aio::Scope asking(reactor());
  asking.spawn("client", [](Client& client) -> Task<void> {
    for (std::uint64_t cookie = 0; cookie < 200; ++cookie) {
      if (!co_await client.request(Command::kRead, cookie, 0, 60u << 10)) co_return;
    }
  }(session->client));
  co_await until_reading(*session, ReaderWait::kSharedBuffer);
  co_await until_sending(*session, SenderWait::kClient);
  asking.cancel();
  co_await asking.join();
  session->transmission.drop();
  co_await session->ended();
  give_memory_back();
}

TASK_TEST_P(TransmissionStatesTest, TheReaderWaitsForMemoryAndTheSenderForTheRestOfAReply) {
  take_all_memory();
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  auto session = connect();
  (void)co_await session->client.request(Command::kRead, 1, 0, kLargeBytes);
  co_await until_reading(*session, ReaderWait::kMemory);
  co_await until_sending(*session, SenderWait::kStorage);
  gate.set();
  EXPECT_EQ((co_await session->client.answer()).data.size(), kLargeBytes);
  co_await session->end();
  give_memory_back();
}

TASK_TEST_P(TransmissionStatesTest, TheReaderWaitsForASlot) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  auto session = connect();
  Bytes requests;
  for (std::uint64_t cookie = 0; cookie <= exports::kRequestsInFlightMax; ++cookie) {
    Bytes one = session->client.codec().request(Command::kRead, cookie, 0, 512);
    requests.insert(requests.end(), one.begin(), one.end());
  }
  (void)co_await session->client.send(std::move(requests));
  co_await until_reading(*session, ReaderWait::kSlot);
  gate.set();
  for (std::uint64_t i = 0; i <= exports::kRequestsInFlightMax; ++i)
    CO_ASSERT(!(co_await session->client.answer()).ended);
  co_await session->end();
}

TASK_TEST_P(TransmissionStatesTest, TheReaderWaitsForTheFence) {
  auto session = connect();
  backing().fence.raise();
  (void)co_await session->client.request(Command::kRead, 1, 0, 512);
  co_await until_reading(*session, ReaderWait::kFence);
  backing().fence.lower();
  EXPECT_EQ((co_await session->client.answer()).cookie, 1u);
  co_await session->end();
}

// A task observes in every turn that the work is spread over turns.
TASK_TEST_P(TransmissionStatesTest, TheReaderGivesOthersATurn) {
  StreamScript script{.ends = false};
  ClientCodec codec(HeaderMode::kSimple);
  script.input.emplace_back();
  for (std::uint64_t cookie = 0; cookie < 40; ++cookie) {
    Bytes one = codec.request(Command::kRead, cookie, 0, 64u << 10);
    script.input.back().insert(script.input.back().end(), one.begin(), one.end());
  }
  Transmission transmission(backing().context(), std::make_unique<ScriptedStream>(reactor(), script),
                            make_state(HeaderMode::kSimple, storage().bytes.size()), {});
  aio::Scope scope(reactor());
  scope.spawn("transmission", transmission.run());
  bool gave_a_turn = false;
  for (int turn = 0; turn < 100; ++turn) {
    gave_a_turn = gave_a_turn || transmission.states().reader_wait() == ReaderWait::kTurn;
    co_await aio::next_turn();
  }
  EXPECT_TRUE(gave_a_turn);
  transmission.drop();
  co_await scope.join();
}

TASK_TEST_P(TransmissionStatesTest, TheSenderGivesOthersATurn) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  StreamScript script{.ends = false, .send_bytes_max = kLargeBytes};
  ClientCodec codec(HeaderMode::kSimple);
  for (std::uint64_t cookie = 0; cookie < 12; ++cookie) {
    script.input.push_back(codec.request(Command::kRead, cookie, 0, kLargeBytes));
  }
  Transmission transmission(backing().context(), std::make_unique<ScriptedStream>(reactor(), script),
                            make_state(HeaderMode::kSimple, storage().bytes.size()), {});
  aio::Scope scope(reactor());
  scope.spawn("transmission", transmission.run());
  co_await until([this] { return storage().waiting == 12; });
  gate.set();
  bool gave_a_turn = false;
  for (int turn = 0; turn < 100; ++turn) {
    gave_a_turn = gave_a_turn || transmission.states().sender_wait() == SenderWait::kTurn;
    co_await aio::next_turn();
  }
  EXPECT_TRUE(gave_a_turn);
  transmission.drop();
  co_await scope.join();
}

}  // namespace
}  // namespace blockexport::nbd::testing
