// The write fence in transmissions: a late write of a lost connection never overwrites a newer acknowledged one.
#include "export/engine/write_fence.h"

#include <gtest/gtest.h>

#include "aio/testing/task_test.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

class WriteFenceTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();
};
BLOCKEXPORT_FOR_EACH_BACKEND(WriteFenceTest);

TASK_TEST_P(WriteFenceTest, ANewConnectionWaitsForTheWritesOfALostOne) {
  aio::Event gate(reactor());
  storage().write_gate = &gate;
  storage().immediate = false;
  auto lost = connect();
  auto next = connect();
  (void)co_await lost->client.write(1, 0, bytes_of('a', 512));
  co_await until([this] { return storage().waiting == 1; });
  lost->client.close();
  co_await until([this] { return backing().fence.is_up(); });
  storage().immediate = true;
  (void)co_await next->client.write(1, 0, bytes_of('b', 512));
  (void)co_await next->client.request(Command::kRead, 2, 0, 512);
  for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  EXPECT_EQ(storage().bytes[0], std::byte{0});
  gate.set();
  EXPECT_EQ((co_await next->client.answer()).cookie, 1u);
  EXPECT_EQ((co_await next->client.answer()).data, bytes_of('b', 512));
  EXPECT_FALSE(backing().fence.is_up());
  co_await lost->ended();
  co_await next->end();
}

TASK_TEST_P(WriteFenceTest, ReadsAndFlushesOfALostConnectionRaiseNoFence) {
  aio::Event gate(reactor());
  storage().read_gate = &gate;
  storage().immediate = false;
  auto lost = connect();
  (void)co_await lost->client.request(Command::kRead, 1, 0, 512);
  co_await until([this] { return storage().waiting == 1; });
  lost->client.close();
  storage().immediate = true;
  auto next = connect();
  EXPECT_EQ((co_await next->client.ask_write(0, bytes_of('b', 512))).error, 0u);
  EXPECT_FALSE(backing().fence.is_up());
  gate.set();
  co_await lost->ended();
  co_await next->end();
}

TASK_TEST_P(WriteFenceTest, AClientThatDisconnectsInOrderRaisesItToo) {
  for (Command change : {Command::kWriteZeroes, Command::kTrim}) {
    aio::Event gate(reactor());
    storage().write_gate = &gate;
    auto leaving = connect();
    (void)co_await leaving->client.request(change, 1, 0, 4096);
    (void)co_await leaving->client.request(Command::kDisconnect, 2, 0, 0);
    co_await until([this] { return backing().fence.is_up(); });
    gate.set();
    EXPECT_EQ((co_await leaving->client.answer()).cookie, 1u);
    co_await leaving->ended();
  }
}

TASK_TEST_P(WriteFenceTest, ALargeWriteWhosePayloadWasArrivingWaitsToo) {
  aio::Event gate(reactor());
  storage().write_gate = &gate;
  storage().immediate = false;
  auto lost = connect();
  auto next = connect();
  (void)co_await lost->client.write(1, 0, bytes_of('a', 512));
  co_await until([this] { return storage().waiting == 1; });
  // The server has its header and the first half before the other client is lost.
  constexpr std::size_t kBytes = 2 * kSmallWriteBytesMax;
  const std::vector<std::byte> write = next->client.codec().write(1, 0, bytes_of('b', kBytes));
  (void)co_await next->client.send({write.begin(), write.begin() + kBytes / 2});
  for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  lost->client.close();
  co_await until([this] { return backing().fence.is_up(); });
  (void)co_await next->client.send({write.begin() + kBytes / 2, write.end()});
  for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  EXPECT_EQ(storage().waiting, 1u);
  gate.set();
  EXPECT_EQ((co_await next->client.answer()).error, 0u);
  EXPECT_EQ((co_await next->client.ask(Command::kRead, 0, 512)).data, bytes_of('b', 512));
  co_await lost->ended();
  co_await next->end();
}

// The server reads nothing from a client while it waits for memory or for one of its many requests to end; it must
// still notice that the client has ended.
TASK_TEST_P(WriteFenceTest, AClientThatDiesWhileItsRequestsWaitForMemoryIsNoticed) {
  struct Load {
    std::size_t write_bytes;
    std::size_t count;
    std::size_t begun;
  };
  for (Load load :
       {Load{1u << 20, 80, 50}, Load{600u << 10, 120, 80}, Load{512, 1100, exports::kRequestsInFlightMax}}) {
    std::ranges::fill(storage().bytes, std::byte{0});
    aio::Event gate(reactor());
    storage().write_gate = &gate;
    storage().immediate = false;
    auto lost = connect();
    aio::Scope sending(reactor());
    sending.spawn("client", [](Client& client, Load size) -> Task<void> {
      for (std::size_t i = 0; i < size.count; ++i) {
        if (!co_await client.write(i, 0, bytes_of('a', size.write_bytes))) co_return;
      }
    }(lost->client, load));
    co_await until([&] { return storage().waiting >= load.begun; });
    for (int i = 0; i < 20; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
    sending.cancel();
    co_await sending.join();
    lost->client.close();
    auto next = connect();
    co_await until([this] { return backing().fence.is_up(); });
    (void)co_await next->client.write(1, 0, bytes_of('b', 512));
    (void)co_await reactor().sleep_until(reactor().now_ns() + 1'000'000);
    gate.set();
    EXPECT_EQ((co_await next->client.answer()).error, 0u);
    EXPECT_EQ((co_await next->client.ask(Command::kRead, 0, 512)).data, bytes_of('b', 512));
    co_await lost->ended();
    EXPECT_EQ(storage().bytes[0], std::byte{'b'});
    co_await next->end();
  }
}

// The server needs many turns to read the requests that a client left behind; the first of them end meanwhile.
TEST(WriteFenceTurnsTest, StaysUpUntilAllRequestsOfALostClientAreRead) {
  constexpr std::size_t kWrites = 6 * exports::kInlineBytesPerTurnMax / kSmallWriteBytesMax;
  aio::Simulation simulation({.streams = {.buffer_bytes = 8 * exports::kInlineBytesPerTurnMax}});
  std::unique_ptr<aio::Reactor> reactor = simulation.make_reactor();
  Backing backing(*reactor);
  aio::Event gate(*reactor);
  backing.storage.write_gate = &gate;
  backing.storage.immediate = false;
  Session lost(backing, simulation.socket_pair(), make_state(HeaderMode::kSimple, backing.storage.bytes.size()));
  aio::Scope client(*reactor);
  client.spawn("client", [](Client& sender) -> Task<void> {
    (void)co_await sender.write(0, kSmallWriteBytesMax, bytes_of('a', 512));
  }(lost.client));
  while (backing.storage.waiting == 0) reactor->run_once(UINT64_MAX);
  backing.storage.immediate = true;
  client.spawn("client", [](Client& sender) -> Task<void> {
    for (std::size_t i = 1; i <= kWrites; ++i) (void)co_await sender.write(i, 0, bytes_of('a', kSmallWriteBytesMax));
    sender.close();
  }(lost.client));
  while (backing.storage.bytes[0] != std::byte{'a'} || client.size() > 0) reactor->run_once(UINT64_MAX);
  reactor->report_hang_ups();
  EXPECT_TRUE(backing.fence.is_up());
  gate.set();
  while (backing.storage.waiting > 0) reactor->run_once(UINT64_MAX);
  ASSERT_LT(backing.storage.tries.size(), kWrites) << "the server has read all requests already";
  EXPECT_TRUE(backing.fence.is_up());
  simulation.run_until_idle(*reactor);
  EXPECT_FALSE(backing.fence.is_up());
}

// One round of the property: clients write the same few blocks and end at any moment, and others continue.
class FenceProperty {
 public:
  explicit FenceProperty(std::uint64_t seed)
      : simulation_({.seed = seed, .latency_max_ns = kPollLatencyNs}),
        reactor_(simulation_.make_reactor()),
        random_(seed * 977),
        backing_(*reactor_, kBlocks * kBlockBytes) {
    backing_.storage.delays = &random_;
    backing_.storage.immediate = seed % 2 == 0;
  }

  void run() { aio::testing::run(*reactor_, successors()); }

 private:
  static constexpr std::uint64_t kBlocks = 4;
  static constexpr std::uint64_t kBlockBytes = 512;
  static constexpr int kClients = 6;
  static constexpr std::uint64_t kPollLatencyNs = 50'000;

  std::unique_ptr<Session> connect() {
    return std::make_unique<Session>(backing_, simulation_.socket_pair(),
                                     make_state(HeaderMode::kSimple, kBlocks * kBlockBytes));
  }

  // Each client leaves writes behind and ends; the acknowledged writes of the next one must stay.
  Task<void> successors() {
    std::vector<std::unique_ptr<Session>> dead;
    auto session = connect();
    for (int number = 1; number <= kClients; ++number) {
      auto next = connect();
      std::uint64_t unanswered = random_.between(1, 8);
      for (std::uint64_t cookie = 0; cookie < unanswered; ++cookie) {
        backing_.storage.immediate = false;
        (void)co_await session->client.write(cookie, random_.below(kBlocks) * kBlockBytes, bytes_of('!', kBlockBytes));
      }
      if (random_.one_in(2)) (void)co_await reactor_->sleep_until(reactor_->now_ns() + random_.below(1'000'000));
      session->client.close();
      // Waits until the server observes the loss, which takes less time than the handshake of a new connection.
      dead.push_back(std::move(session));
      (void)co_await reactor_->sleep_until(reactor_->now_ns() + 2 * kPollLatencyNs);
      backing_.storage.immediate = random_.one_in(2);
      co_await check(*next, static_cast<char>('a' + number));
      session = std::move(next);
    }
    co_await session->end();
    for (auto& one : dead) co_await one->ended();
  }

  Task<void> check(Session& session, char fill) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      Answer written = co_await session.client.ask_write(block * kBlockBytes, bytes_of(fill, kBlockBytes));
      EXPECT_EQ(written.error, 0u);
    }
    (void)co_await reactor_->sleep_until(reactor_->now_ns() + random_.below(3'000'000));
    Answer read = co_await session.client.ask(Command::kRead, 0, kBlocks * kBlockBytes);
    EXPECT_EQ(read.data, bytes_of(fill, kBlocks * kBlockBytes));
  }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_;
  aio::Random random_;
  Backing backing_;
};

TEST(WriteFenceProperty, ALostClientOverwritesNoAcknowledgedWrite) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    FenceProperty(seed).run();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace blockexport::nbd::testing
