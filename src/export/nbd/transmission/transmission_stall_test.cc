// Transmission: clients that hold memory and make no progress while others wait for it. Time is the simulation's.
#include <gtest/gtest.h>

#include "aio/testing/simulation.h"
#include "aio/testing/task_test.h"
#include "export/engine/stall.h"
#include "export/nbd/testing/transmission_test_base.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::size_t kDiskBytes = 16u << 20;
constexpr std::size_t kWriteBytes = 2u << 20;
// Memory for two large writes, besides the allowance of each connection.
constexpr std::uint64_t kBudgetBytes = 4u << 20;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

class TransmissionStallTest : public ::testing::Test {
 protected:
  template <class Test>
  Task<void> body();

  ~TransmissionStallTest() override { EXPECT_EQ(backing_.budget.used_bytes(), 0u); }

  void run(Task<void> task) { aio::testing::run(*reactor_, std::move(task)); }
  std::unique_ptr<Session> connect() {
    return std::make_unique<Session>(backing_, simulation_.socket_pair(), make_state(HeaderMode::kSimple, kDiskBytes));
  }
  Task<void> pass(std::uint64_t seconds) {
    (void)co_await reactor_->sleep_until(reactor_->now_ns() + seconds * kSecondNs);
  }
  static Bytes part_of_a_write(ClientCodec& codec, std::size_t payload_bytes) {
    Bytes whole = codec.write(1, 0, bytes_of('p', kWriteBytes));
    whole.resize(request_header_bytes(HeaderMode::kSimple) + payload_bytes);
    return whole;
  }
  static Task<void> write_whole(Session& session, std::uint64_t offset, std::uint32_t& answered) {
    Answer answer = co_await session.client.ask_write(offset, bytes_of('w', kWriteBytes));
    answered += !answer.ended && answer.error == 0;
  }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  Backing backing_{*reactor_, kDiskBytes, kBudgetBytes};
};

TASK_TEST_F(TransmissionStallTest, AStoppedWriteIsDisconnectedWhenOthersWaitForItsMemory) {
  auto first = connect();
  auto second = connect();
  for (Session* one : {first.get(), second.get()}) {
    (void)co_await one->client.send(part_of_a_write(one->client.codec(), kWriteBytes - 1));
  }
  co_await pass(1);
  auto good = connect();
  std::uint32_t answered = 0;
  std::uint32_t seconds = 0;
  for (; seconds < 20 && first->running() && second->running(); ++seconds) {
    co_await write_whole(*good, 4u << 20, answered);
    co_await pass(1);
  }
  EXPECT_EQ(answered, seconds);
  EXPECT_GE(seconds, exports::kStallNs / kSecondNs - 2);
  EXPECT_FALSE(first->running() && second->running());
  EXPECT_EQ(backing_.storage.bytes[0], std::byte{0});
  for (Session* one : {first.get(), second.get(), good.get()}) co_await one->end();
}

TASK_TEST_F(TransmissionStallTest, AStoppedWriteIsKeptWhileNobodyWaits) {
  auto session = connect();
  (void)co_await session->client.send(part_of_a_write(session->client.codec(), kWriteBytes - 1));
  co_await pass(300);
  EXPECT_TRUE(session->running());
  (void)co_await session->client.send(bytes_of('p', 1));
  EXPECT_EQ((co_await session->client.answer()).error, 0u);
  co_await session->end();
}

TASK_TEST_F(TransmissionStallTest, ASlowWriteThatMakesProgressIsKept) {
  auto slow = connect();
  auto other = connect();
  auto good = connect();
  (void)co_await slow->client.send(part_of_a_write(slow->client.codec(), kWriteBytes / 2));
  (void)co_await other->client.send(part_of_a_write(other->client.codec(), kWriteBytes / 2));
  co_await pass(1);
  std::uint32_t answered = 0;
  std::uint32_t asked = 0;
  // Both clients move 256 KiB in eight seconds.
  for (std::size_t left = kWriteBytes / 2; left > 0; left -= 32u << 10) {
    co_await write_whole(*good, 4u << 20, answered);
    EXPECT_EQ(answered, ++asked);
    co_await pass(1);
    (void)co_await slow->client.send(bytes_of('p', 32u << 10));
    (void)co_await other->client.send(bytes_of('p', 32u << 10));
  }
  EXPECT_EQ((co_await slow->client.answer()).cookie, 1u);
  EXPECT_EQ((co_await other->client.answer()).cookie, 1u);
  for (Session* one : {slow.get(), other.get(), good.get()}) co_await one->end();
}

TASK_TEST_F(TransmissionStallTest, AClientThatDoesNotReadIsDisconnectedWhenOthersWaitForItsMemory) {
  auto idle_reader = connect();
  for (std::uint64_t cookie = 1; cookie <= 4; ++cookie) {
    (void)co_await idle_reader->client.request(Command::kRead, cookie, 0, kWriteBytes);
  }
  co_await pass(1);
  auto good = connect();
  for (int second = 0; second < 20 && idle_reader->running(); ++second) {
    EXPECT_EQ((co_await good->client.ask(Command::kRead, 0, 3u << 20)).data.size(), 3u << 20);
    co_await pass(1);
  }
  EXPECT_FALSE(idle_reader->running());
  co_await idle_reader->end();
  co_await good->end();
}

// Each client has sent all of its payload and takes memory in pieces: no write may wait for pieces of another one that
// has begun to take them.
TASK_TEST_F(TransmissionStallTest, LargeWritesBeyondTheMemoryAllComplete) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 8; ++i) sessions.push_back(connect());
  std::uint64_t began_ns = reactor_->now_ns();
  aio::Scope scope(*reactor_);
  std::uint32_t answered = 0;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    scope.spawn("writer", write_whole(*sessions[i], i * kWriteBytes, answered));
  }
  co_await scope.join();
  EXPECT_EQ(answered, 8u);
  EXPECT_LT(reactor_->now_ns() - began_ns, exports::kStallNs);
  for (auto& session : sessions) co_await session->end();
}

TEST(StallJudge, CountsOnlyTheTimeInWhichOthersWait) {
  exports::StallJudge judge(0, 0);
  std::uint64_t now_ns = 0;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(judge.check(false, 0, now_ns += exports::kStallCheckNs));
  for (int i = 1; i < 10; ++i) EXPECT_FALSE(judge.check(true, 0, now_ns += exports::kStallCheckNs));
  EXPECT_TRUE(judge.check(true, exports::kStallBytesMin - 1, now_ns += exports::kStallCheckNs));
  EXPECT_FALSE(judge.check(true, exports::kStallBytesMin, now_ns += exports::kStallCheckNs));
  EXPECT_FALSE(judge.check(true, exports::kStallBytesMin, now_ns += exports::kStallCheckNs));
}

}  // namespace
}  // namespace blockexport::nbd::testing
