// Transmission: flow of requests and replies: batches, segments, slow storage, slow clients, limits.
#include <gtest/gtest.h>

#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class TransmissionFlowTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();

  // Runs a session with `script` as its input to its end.
  void serve(StreamScript& script, SessionState state) {
    run([](Backing& backing, StreamScript& said, SessionState agreed) -> Task<void> {
      auto stream = std::make_unique<ScriptedStream>(backing.reactor, said);
      Transmission transmission(backing.context(), std::move(stream), std::move(agreed), {});
      co_await transmission.run();
    }(backing(), script, std::move(state)));
  }

  // The input of one client that uses every command.
  static Bytes everything(ClientCodec& codec, HeaderMode mode) {
    Bytes session = joined({codec.write(1, 0, bytes_of('a', 600)), codec.request(Command::kRead, 2, 0, 700),
                            codec.write(3, 1u << 20, bytes_of('b', 300)), codec.request(Command::kFlush, 4, 0, 0),
                            codec.request(Command::kTrim, 5, 8192, 4096), codec.request(Command::kCache, 6, 0, 512),
                            codec.request(Command::kWriteZeroes, 7, 4096, 512)});
    if (mode != HeaderMode::kSimple) {
      session = joined({session, codec.request(Command::kBlockStatus, 8, 0, 8192)});
    }
    return joined(
        {session, codec.request(static_cast<Command>(99), 9, 0, 0), codec.request(Command::kDisconnect, 10, 0, 0)});
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionFlowTest);

TEST_P(TransmissionFlowTest, ASessionSplitAnywhereGetsTheSameReplies) {
  for (HeaderMode mode : kAllModes) {
    for (bool immediate : {true, false}) {
      storage().immediate = immediate;
      ClientCodec codec(mode);
      Bytes session = everything(codec, mode);
      SessionState state = make_state(mode, storage().bytes.size());
      StreamScript whole{.input = {session}};
      serve(whole, state);
      auto expected = codec.take_all(whole.output);
      EXPECT_EQ(expected.size(), mode == HeaderMode::kSimple ? 8u : 9u);
      EXPECT_TRUE(whole.output.empty());
      for (std::size_t cut = 1; cut < session.size(); ++cut) {
        std::ranges::fill(storage().bytes, std::byte{0});
        auto middle = session.begin() + static_cast<std::ptrdiff_t>(cut);
        StreamScript script{.input = {Bytes(session.begin(), middle), Bytes(middle, session.end())}};
        serve(script, state);
        auto answers = codec.take_all(script.output);
        ASSERT_EQ(answers[2], expected[2]) << "cut at " << cut;
        ASSERT_TRUE(answers == expected) << "cut at " << cut;
      }
    }
  }
}

TEST_P(TransmissionFlowTest, ASessionByteByByteGetsTheSameReplies) {
  for (HeaderMode mode : kAllModes) {
    ClientCodec codec(mode);
    Bytes session = everything(codec, mode);
    StreamScript script;
    script.send_bytes_max = 1;
    for (std::byte byte : session) script.input.push_back({byte});
    serve(script, make_state(mode, storage().bytes.size()));
    auto answers = codec.take_all(script.output);
    EXPECT_EQ(answers.size(), mode == HeaderMode::kSimple ? 8u : 9u);
    EXPECT_EQ(answers[2].data, joined({bytes_of('a', 600), bytes_of(0, 100)}));
  }
}

TEST_P(TransmissionFlowTest, BytesBehindTheHandshakeAreServedFirst) {
  ClientCodec codec(HeaderMode::kSimple);
  Bytes request = codec.request(Command::kRead, 7, 0, 512);
  StreamScript script{.input = {Bytes(request.begin() + 10, request.end())}};
  run([](Backing& backing, StreamScript& said, Bytes early) -> Task<void> {
    auto stream = std::make_unique<ScriptedStream>(backing.reactor, said);
    SessionState state = make_state(HeaderMode::kSimple, backing.storage.bytes.size());
    Transmission transmission(backing.context(), std::move(stream), std::move(state), early);
    co_await transmission.run();
  }(backing(), script, Bytes(request.begin(), request.begin() + 10)));
  auto answers = codec.take_all(script.output);
  EXPECT_EQ(answers[7].data.size(), 512u);
}

TEST_P(TransmissionFlowTest, RequestsOfOneSegmentAreAnsweredWithOneSend) {
  ClientCodec codec(HeaderMode::kStructured);
  Bytes segment;
  for (std::uint64_t cookie = 0; cookie < 16; ++cookie) {
    segment = joined({segment, codec.request(Command::kRead, cookie, cookie * 4096, 4096),
                      codec.write(100 + cookie, cookie * 512, bytes_of('w', 512))});
  }
  StreamScript script{.input = {segment}};
  serve(script, make_state(HeaderMode::kStructured, storage().bytes.size()));
  EXPECT_EQ(codec.take_all(script.output).size(), 32u);
  EXPECT_EQ(script.sends, 1u);
}

// A flush without writes before it is a task that ends at once.
TEST_P(TransmissionFlowTest, FlushesOfOneSegmentAreAnsweredWithOneSend) {
  ClientCodec codec(HeaderMode::kStructured);
  Bytes segment;
  for (std::uint64_t cookie = 0; cookie < 16; ++cookie) {
    segment = joined({segment, codec.request(Command::kFlush, cookie, 0, 0)});
  }
  StreamScript script{.input = {segment}};
  serve(script, make_state(HeaderMode::kStructured, storage().bytes.size()));
  EXPECT_EQ(codec.take_all(script.output).size(), 16u);
  EXPECT_EQ(script.sends, 1u);
}

TEST_P(TransmissionFlowTest, RequestsThatEndInOneTurnAreAnsweredWithOneSend) {
  ClientCodec codec(HeaderMode::kStructured);
  Bytes segment;
  for (std::uint64_t cookie = 0; cookie < 16; ++cookie) {
    segment = joined({segment, codec.request(Command::kRead, cookie, cookie * 512, 512)});
  }
  segment = joined({segment, codec.request(Command::kDisconnect, 16, 0, 0)});
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  StreamScript script{.input = {segment}};
  run([](Backing& backing, StreamScript& said, SessionState agreed, aio::Event& opened) -> Task<void> {
    auto stream = std::make_unique<ScriptedStream>(backing.reactor, said);
    Transmission transmission(backing.context(), std::move(stream), std::move(agreed), {});
    aio::Scope scope(backing.reactor);
    scope.spawn("transmission", transmission.run());
    while (backing.storage.waiting < 16) co_await aio::next_turn();
    opened.set();
    co_await scope.join();
  }(backing(), script, make_state(HeaderMode::kStructured, storage().bytes.size()), gate));
  EXPECT_EQ(codec.take_all(script.output).size(), 16u);
  EXPECT_EQ(script.sends, 1u);
}

TASK_TEST_P(TransmissionFlowTest, ASlowReadDoesNotDelayAReadyReply) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  auto session = connect();
  storage().immediate = false;
  (void)co_await session->client.request(Command::kRead, 1, 0, 512);
  co_await until([this] { return storage().waiting == 1; });
  storage().immediate = true;
  (void)co_await session->client.request(Command::kRead, 2, 512, 512);
  EXPECT_EQ((co_await session->client.answer()).cookie, 2u);
  gate.set();
  EXPECT_EQ((co_await session->client.answer()).cookie, 1u);
  co_await session->end();
}

TASK_TEST_P(TransmissionFlowTest, LargeReadsYieldToOtherConnections) {
  auto large = connect();
  auto small = connect();
  Bytes requests;
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie) {
    requests = joined({requests, large->client.codec().request(Command::kRead, cookie, 0, 1u << 20)});
  }
  (void)co_await large->client.send(std::move(requests));
  (void)co_await small->client.request(Command::kRead, 1, 0, 512);
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie) {
    Answer answer = co_await large->client.answer();
    EXPECT_EQ(answer.cookie, cookie);
    EXPECT_EQ(answer.data.size(), 1u << 20);
  }
  EXPECT_EQ((co_await small->client.answer()).data.size(), 512u);
  EXPECT_EQ(storage().reads.size(), 9u);
  // In a simulation the small request may still be on its way while all others are served.
  if (!simulated()) EXPECT_NE(storage().reads.back().length, 512u);
  co_await large->end();
  co_await small->end();
}

TASK_TEST_P(TransmissionFlowTest, NoMoreRequestsWaitForStorageThanAllowed) {
  aio::Event gate(reactor());
  storage().write_gate = &gate;
  auto session = connect();
  constexpr std::uint64_t kCount = exports::kRequestsInFlightMax + 300;
  Bytes requests;
  for (std::uint64_t cookie = 0; cookie < kCount; ++cookie) {
    Bytes one = session->client.codec().request(Command::kWriteZeroes, cookie, 0, 4096);
    requests.insert(requests.end(), one.begin(), one.end());
  }
  (void)co_await session->client.send(requests);
  co_await until([this] { return storage().waiting == exports::kRequestsInFlightMax; });
  gate.set();
  std::vector<bool> seen(kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) {
    Answer answer = co_await session->client.answer();
    EXPECT_EQ(answer.error, 0u);
    if (answer.cookie < kCount) seen[answer.cookie] = true;
  }
  EXPECT_EQ(std::ranges::count(seen, true), static_cast<std::ptrdiff_t>(kCount));
  EXPECT_EQ(storage().most_waiting, exports::kRequestsInFlightMax);
  co_await session->end();
}

TASK_TEST_P(TransmissionFlowTest, AClientThatDoesNotReadIsNotReadFrom) {
  ClientCodec codec(HeaderMode::kStructured);
  Bytes requests;
  for (std::uint64_t cookie = 0; cookie < 200; ++cookie) {
    requests = joined({requests, codec.request(Command::kRead, cookie, 0, 1u << 20)});
  }
  for (bool immediate : {true, false}) {
    storage().immediate = immediate;
    StreamScript script{.ends = false, .reads = false};
    for (std::size_t at = 0; at < requests.size(); at += 1000) {
      auto begin = requests.begin() + static_cast<std::ptrdiff_t>(at);
      script.input.push_back(
          Bytes(begin, begin + static_cast<std::ptrdiff_t>(std::min<std::size_t>(1000, requests.size() - at))));
    }
    auto stream = std::make_unique<ScriptedStream>(reactor(), script);
    SessionState state = make_state(HeaderMode::kStructured, storage().bytes.size());
    Transmission transmission(backing().context(), std::move(stream), std::move(state), {});
    aio::Scope scope(reactor());
    scope.spawn("transmission", transmission.run());
    const std::uint64_t limit = aio::MemoryBudget::kConnectionBytesDefault;
    co_await until([&] { return backing().budget.used_bytes() > limit - (3u << 20); });
    for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
    EXPECT_GT(script.input.size(), 1u);
    EXPECT_LE(backing().budget.used_bytes(), limit);
    transmission.drop();
    co_await scope.join();
    EXPECT_EQ(backing().budget.used_bytes(), 0u);
  }
}

TASK_TEST_P(TransmissionFlowTest, AnIdleConnectionHoldsNoMemory) {
  auto session = connect();
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 1u << 20)).data.size(), 1u << 20);
  EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('x', 300u << 10))).error, 0u);
  co_await until([this] { return backing().budget.used_bytes() == 0; });
  co_await session->end();
}

// For a request of one byte, the data are the smallest part of its memory.
TASK_TEST_P(TransmissionFlowTest, WaitingSmallRequestsCountWithAllTheirMemory) {
  constexpr std::uint64_t kProcessBytes = 1u << 20;
  constexpr std::uint64_t kRequests = 1000;
  struct {
    Command command;
    std::size_t memory_bytes;
  } const kinds[] = {{Command::kRead, memory_of_read(1)}, {Command::kTrim, kTaskBytes}};
  for (const auto& kind : kinds) {
    aio::Event gate(reactor());
    Backing narrow(reactor(), 1u << 20, kProcessBytes);
    narrow.storage.immediate = false;
    narrow.storage.read_gate = narrow.storage.write_gate = &gate;
    Session session(narrow, make_socket_pair(), make_state(HeaderMode::kStructured, narrow.storage.bytes.size()));
    ClientCodec codec(HeaderMode::kStructured);
    Bytes requests;
    for (std::uint64_t cookie = 0; cookie < kRequests; ++cookie) {
      requests = joined({requests, codec.request(kind.command, cookie, cookie, 1)});
    }
    (void)co_await session.client.send(requests);
    const std::size_t space = aio::MemoryBudget::kConnectionAllowanceBytes + kProcessBytes;
    const std::size_t replies = ReplyQueue::kSharedBufferBytes;
    co_await until([&] { return narrow.storage.waiting >= (space - replies) / kind.memory_bytes; });
    for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
    gate.set();
    for (std::uint64_t i = 0; i < kRequests; ++i) EXPECT_EQ((co_await session.client.answer()).error, 0u);
    EXPECT_LE(narrow.storage.most_waiting, space / kind.memory_bytes);
    co_await session.end();
    EXPECT_EQ(narrow.budget.used_bytes(), 0u);
  }
}

TASK_TEST_P(TransmissionFlowTest, AClosedGateHoldsRequestsUntilItOpens) {
  auto session = connect();
  co_await backing().edge.quiesce();
  (void)co_await session->client.request(Command::kRead, 1, 0, 512);
  (void)co_await session->client.write(2, 0, bytes_of('x', 512));
  for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  EXPECT_EQ(storage().bytes[0], std::byte{0});
  backing().edge.resume();
  Answer first = co_await session->client.answer();
  Answer second = co_await session->client.answer();
  EXPECT_EQ(first.cookie + second.cookie, 3u);
  EXPECT_EQ(storage().bytes[0], std::byte{'x'});
  co_await session->end();
}

TASK_TEST_P(TransmissionFlowTest, KnownHolesAreSentAsHolesAndNotRead) {
  for (HeaderMode mode : kAllModes) {
    constexpr std::uint64_t kBytes = 256u << 10;
    storage().knows_extents_to = UINT64_MAX;
    storage().immediate = mode != HeaderMode::kExtended;
    std::ranges::fill(std::span(storage().bytes).subspan(2 * kBytes + 8192, 4096), std::byte{'x'});
    const bool chunks = mode != HeaderMode::kSimple;
    auto session = connect(mode);
    Answer hole = co_await session->client.ask(Command::kRead, 0, kBytes);
    EXPECT_EQ(hole.data, Bytes(kBytes));
    EXPECT_EQ(hole.hole_bytes, chunks ? kBytes : 0u);
    Answer mixed = co_await session->client.ask(Command::kRead, 2 * kBytes, kBytes);
    EXPECT_TRUE(std::ranges::equal(mixed.data, std::span(storage().bytes).subspan(2 * kBytes, kBytes)));
    EXPECT_EQ(mixed.hole_bytes, chunks ? kBytes - 4096 : 0u);
    // Reads below 64 KiB are not checked for holes.
    constexpr std::uint32_t kSearched = 64u << 10;
    EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 4096)).hole_bytes, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, kSearched - 1)).hole_bytes, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, kSearched)).hole_bytes, chunks ? kSearched : 0u);
    co_await session->end();
  }
}

TASK_TEST_P(TransmissionFlowTest, UnknownBytesOfAReadAreData) {
  constexpr std::uint64_t kBytes = 256u << 10;
  constexpr std::uint64_t kKnown = 64u << 10;
  storage().knows_extents_to = kKnown;
  std::ranges::fill(std::span(storage().bytes).subspan(8192, 4096), std::byte{'x'});
  auto session = connect(HeaderMode::kStructured);
  // All bytes behind the known extents are zeros too, but the node does not know that, nor whether the range ends in a
  // hole.
  Answer answer = co_await session->client.ask(Command::kRead, 0, kBytes);
  EXPECT_TRUE(std::ranges::equal(answer.data, std::span(storage().bytes).first(kBytes)));
  EXPECT_EQ(answer.hole_bytes, 8192u);
  answer = co_await session->client.ask(Command::kRead, 12288, kBytes);
  EXPECT_EQ(answer.data, Bytes(kBytes));
  EXPECT_EQ(answer.hole_bytes, kKnown - 12288);
  co_await session->end();
}

TASK_TEST_P(TransmissionFlowTest, BlockStatusQueriesUnknownExtents) {
  using Extents = std::vector<Answer::Status>;
  std::ranges::fill(std::span(storage().bytes).subspan(8192, 16384), std::byte{'x'});
  for (HeaderMode mode : {HeaderMode::kStructured, HeaderMode::kExtended}) {
    auto session = connect(mode);
    // The known extents are data up to a hole that is unknown; then up to the middle of data.
    for (std::uint64_t known : {24576u, 16384u}) {
      storage().knows_extents_to = known;
      storage().calls.clear();
      Answer answer = co_await session->client.ask(Command::kBlockStatus, 0, 65536);
      EXPECT_EQ(answer.status[0], (Extents{{8192, 3}, {16384, 0}, {40960, 3}}));
      EXPECT_EQ(storage().calls, std::vector{"extents " + std::to_string(known) + "+" + std::to_string(65536 - known)});
      answer = co_await session->client.ask(Command::kBlockStatus, 8192, 57344, command_flag::kOneExtent);
      EXPECT_EQ(answer.status[0], (Extents{{16384, 0}}));
      // A query for the known part only.
      storage().calls.clear();
      answer = co_await session->client.ask(Command::kBlockStatus, 8192, 8192);
      EXPECT_EQ(answer.status[0], (Extents{{8192, 0}}));
      EXPECT_EQ(storage().calls, std::vector<std::string>());
    }
    co_await session->end();
  }
}

TASK_TEST_P(TransmissionFlowTest, AReadBetweenHolesThatFailsIsOneError) {
  storage().knows_extents_to = UINT64_MAX;
  storage().immediate = false;
  storage().bytes[100'000] = std::byte{'x'};
  storage().error = EIO;
  auto session = connect();
  Answer answer = co_await session->client.ask(Command::kRead, 0, 256u << 10);
  EXPECT_EQ(answer.error, static_cast<std::uint32_t>(NbdError::kIo));
  EXPECT_EQ(answer.data.size(), 0u);
  co_await session->end();
}

// Blocks of data and holes in turns, from the start on.
void write_every_other_block(StorageState& storage, std::uint64_t blocks) {
  storage.bytes.assign(blocks * StorageDriver::kBlockBytes, std::byte{0});
  for (std::size_t at = 0; at < storage.bytes.size(); at += 2 * StorageDriver::kBlockBytes) {
    storage.bytes[at] = std::byte{1};
  }
  storage.knows_extents_to = storage.bytes.size();
}

// A reply of the size of a small reply goes to the shared buffer and returns the memory that was taken for it; a longer
// one keeps its memory until it is sent.
TASK_TEST_P(TransmissionFlowTest, ABlockStatusReplyUpToTheLimitIsASmallReply) {
  constexpr std::size_t kSmallBytes = 16u << 10;
  constexpr std::size_t kHeadBytes = 20 + 4;
  constexpr std::uint64_t kExtents = (kSmallBytes - kHeadBytes) / 8;
  for (std::uint64_t extents : {kExtents, kExtents + 1}) {
    write_every_other_block(storage(), extents);
    SessionState state = make_state(HeaderMode::kStructured, storage().bytes.size());
    state.contexts.resize(1);
    ClientCodec codec(HeaderMode::kStructured);
    StreamScript script{.input = {codec.request(Command::kBlockStatus, 1, 0, storage().bytes.size())}, .reads = false};
    script.ends = false;
    Transmission transmission(backing().context(), std::make_unique<ScriptedStream>(reactor(), script), state, {});
    aio::Scope scope(reactor());
    scope.spawn("transmission", transmission.run());
    co_await until([&] { return script.input.empty(); });
    EXPECT_EQ(backing().budget.used_bytes() > 2 * ReplyQueue::kSharedBufferBytes, extents > kExtents);
    transmission.drop();
    co_await scope.join();
  }
}

TASK_TEST_P(TransmissionFlowTest, AConnectionKeepsMemoryForALimitedNumberOfExtents) {
  constexpr std::uint64_t kSpareExtents = 16;
  for (std::uint64_t extents : {kSpareExtents, kSpareExtents + 1}) {
    write_every_other_block(storage(), extents);
    auto session = connect();
    Answer answer = co_await session->client.ask(Command::kRead, 0, storage().bytes.size());
    EXPECT_EQ(answer.error, 0u);
    EXPECT_EQ(session->transmission.spare_extents(), extents == kSpareExtents ? kSpareExtents : 0);
    co_await session->end();
  }
}

}  // namespace
}  // namespace blockexport::nbd::testing
