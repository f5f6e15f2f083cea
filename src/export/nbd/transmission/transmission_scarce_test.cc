// Transmission: requests while other clients hold the memory: they are served soon, with less memory. Time is the
// simulation's.
#include <gtest/gtest.h>

#include "aio/testing/simulation.h"
#include "aio/testing/task_test.h"
#include "export/nbd/testing/transmission_test_base.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::size_t kDiskBytes = 16u << 20;
constexpr std::size_t kLargeBytes = 3u << 20;
constexpr std::uint64_t kBudgetBytes = 4u << 20;
// Simulated times: the wait for memory, and the delays of the storage and the socket.
constexpr std::uint64_t kSoonNs = 500'000'000;

class TransmissionScarceTest : public ::testing::TestWithParam<HeaderMode> {
 protected:
  template <class Test>
  Task<void> body();

  TransmissionScarceTest() {
    EXPECT_TRUE(backing_.budget.try_take(kBudgetBytes));
    for (std::size_t i = 0; i < kDiskBytes; ++i) backing_.storage.bytes[i] = static_cast<std::byte>(1 + i / 4096 % 251);
    backing_.storage.immediate = false;
  }
  ~TransmissionScarceTest() override {
    backing_.budget.give_back(kBudgetBytes);
    EXPECT_EQ(backing_.budget.used_bytes(), 0u);
    EXPECT_FALSE(backing_.fence.is_up());
  }

  void run(Task<void> task) { aio::testing::run(*reactor_, std::move(task)); }
  std::unique_ptr<Session> connect() {
    return std::make_unique<Session>(backing_, simulation_.socket_pair(), make_state(GetParam(), kDiskBytes));
  }
  Bytes disk(std::size_t offset, std::size_t length) const {
    const auto begin = backing_.storage.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return Bytes(begin, begin + static_cast<std::ptrdiff_t>(length));
  }
  static Task<void> write_whole(Session& session, std::uint64_t offset, std::uint32_t& answered) {
    Answer answer = co_await session.client.ask_write(offset, bytes_of('w', kLargeBytes));
    answered += !answer.ended && answer.error == 0;
  }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  // Another client holds all memory.
  Backing backing_{*reactor_, kDiskBytes, kBudgetBytes};
};
INSTANTIATE_TEST_SUITE_P(Modes, TransmissionScarceTest,
                         ::testing::Values(HeaderMode::kSimple, HeaderMode::kStructured));

TASK_TEST_P(TransmissionScarceTest, ALargeReadIsReadPieceByPiece) {
  auto session = connect();
  const std::uint64_t began_ns = reactor_->now_ns();
  const Answer answer = co_await session->client.ask(Command::kRead, 1000, kLargeBytes);
  EXPECT_EQ(answer.error, 0u);
  EXPECT_EQ(answer.data, disk(1000, kLargeBytes));
  EXPECT_LT(reactor_->now_ns() - began_ns, kSoonNs);
  EXPECT_EQ(backing_.budget.used_bytes(), kBudgetBytes);
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 4096)).data, disk(0, 4096));
  co_await session->end();
}

TASK_TEST_P(TransmissionScarceTest, ALargeWriteIsWrittenPieceByPiece) {
  auto session = connect();
  const std::uint64_t began_ns = reactor_->now_ns();
  const Answer answer = co_await session->client.ask_write(5000, bytes_of('w', kLargeBytes));
  EXPECT_EQ(answer.error, 0u);
  EXPECT_LT(reactor_->now_ns() - began_ns, kSoonNs);
  EXPECT_EQ(disk(5000, kLargeBytes), bytes_of('w', kLargeBytes));
  EXPECT_EQ(disk(4999, 1)[0], std::byte{2});
  EXPECT_NE(disk(5000 + kLargeBytes, 1)[0], std::byte{'w'});
  EXPECT_GE(backing_.storage.calls.size(), kLargeBytes / kPieceBytes);
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 5000, 4096)).data, bytes_of('w', 4096));
  co_await session->end();
}

// The next requests in the stream are still found.
TASK_TEST_P(TransmissionScarceTest, AWriteThatFailsInTheMiddleIsAnsweredWithTheError) {
  backing_.storage.full_from = 1u << 20;
  auto session = connect();
  EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('w', kLargeBytes))).error,
            static_cast<std::uint32_t>(NbdError::kNoSpace));
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 4096)).data, bytes_of('w', 4096));
  co_await session->end();
}

TASK_TEST_P(TransmissionScarceTest, APartOfALostClientRaisesTheFence) {
  aio::Event gate(*reactor_);
  backing_.storage.write_gate = &gate;
  auto session = connect();
  Bytes part = session->client.codec().write(1, 0, bytes_of('w', kLargeBytes));
  part.resize(request_header_bytes(GetParam()) + kPieceBytes + 1000);
  (void)co_await session->client.send(part);
  co_await aio::testing::until(*reactor_, [this] { return backing_.storage.waiting == 1; });
  session->client.close();
  co_await aio::testing::until(*reactor_, [this] { return backing_.fence.is_up(); });
  gate.set();
  co_await session->ended();
  EXPECT_FALSE(backing_.fence.is_up());
}

TASK_TEST_P(TransmissionScarceTest, ManyNewcomersAtATimeAreServedWithTheirOwnMemory) {
  constexpr std::size_t kNewcomers = 40;
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::size_t i = 0; i < kNewcomers; ++i) sessions.push_back(connect());
  aio::Scope scope(*reactor_);
  std::uint32_t answered = 0;
  const std::uint64_t began_ns = reactor_->now_ns();
  for (std::size_t i = 0; i < kNewcomers; ++i) {
    scope.spawn("newcomer", write_whole(*sessions[i], i % 4 * kLargeBytes, answered));
  }
  co_await scope.join();
  EXPECT_EQ(answered, kNewcomers);
  EXPECT_LT(reactor_->now_ns() - began_ns, kSoonNs);
  EXPECT_EQ(backing_.budget.used_bytes(), kBudgetBytes);
  for (auto& session : sessions) co_await session->end();
}

}  // namespace
}  // namespace blockexport::nbd::testing
