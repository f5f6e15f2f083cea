// Transmission: the counters of an export and of a client agree with the replies that the client got.
#include <gtest/gtest.h>

#include <vector>

#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;
using exports::ErrorClass;
using exports::Verb;

class TransmissionCountsTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();
  void SetUp() override {
    TransmissionTest::SetUp();
    if (IsSkipped()) return;
    backing().shared_counters = &shared_;
    backing().client_counters = &client_;
  }
  const exports::VerbCounts<exports::OwnedCounter>& of(Verb verb) const {
    return shared_.verbs[static_cast<std::size_t>(verb)];
  }
  std::uint64_t operations(Verb verb) const { return of(verb).operations.load(); }
  std::uint64_t bytes(Verb verb) const { return of(verb).bytes.load(); }
  std::uint64_t errors(Verb verb, ErrorClass error) const {
    return of(verb).errors[static_cast<std::size_t>(error)].load();
  }
  std::uint64_t latencies(Verb verb) const {
    std::uint64_t sum = 0;
    for (const auto& bucket : of(verb).latencies) sum += bucket.load();
    return sum;
  }
  exports::ClientCounters& client() { return client_; }

 private:
  exports::ReactorCounters shared_;
  exports::ClientCounters client_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionCountsTest);

TASK_TEST_P(TransmissionCountsTest, EachRequestIsCountedOnceInlineOrInATask) {
  for (bool immediate : {true, false}) {
    storage().immediate = immediate;
    auto session = connect();
    EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, 4096)).error, 0u);
    EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('a', 1000))).error, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kFlush, 0, 0)).error, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kTrim, 0, 512)).error, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kWriteZeroes, 0, 2048)).error, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kCache, 0, 100)).error, 0u);
    EXPECT_EQ((co_await session->client.ask(Command::kBlockStatus, 0, 4096)).error, 0u);
    co_await session->end();
  }
  for (std::size_t verb = 0; verb < exports::kVerbs; ++verb) {
    EXPECT_EQ(operations(static_cast<Verb>(verb)), 2u) << verb;
    EXPECT_EQ(client().operations[verb].load(), 2u) << verb;
    EXPECT_EQ(latencies(static_cast<Verb>(verb)), 2u) << verb;
  }
  EXPECT_EQ(bytes(Verb::kRead), 8192u);
  EXPECT_EQ(bytes(Verb::kWrite), 2000u);
  EXPECT_EQ(bytes(Verb::kFlush), 0u);
  EXPECT_EQ(bytes(Verb::kDiscard), 1024u);
  EXPECT_EQ(bytes(Verb::kWriteZeroes), 4096u);
  EXPECT_EQ(bytes(Verb::kPrefetch), 200u);
  EXPECT_EQ(bytes(Verb::kExtents), 0u);
  EXPECT_EQ(client().bytes[static_cast<std::size_t>(Verb::kRead)].load(), 8192u);
  EXPECT_EQ(client().in_flight.load(), 0u);
  EXPECT_EQ(client().oldest_since_ns.load(), 0u);
  EXPECT_EQ(client().phase.load(), exports::Phase::kEnded);
}

TASK_TEST_P(TransmissionCountsTest, FailedAndRefusedRequestsAreErrorsOfTheirOperation) {
  auto session = connect();
  // A flush has work to do only after a write.
  EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('a', 512))).error, 0u);
  storage().error = EIO;
  EXPECT_NE((co_await session->client.ask(Command::kFlush, 0, 0)).error, 0u);
  storage().error = 0;
  storage().full_from = 0;
  EXPECT_NE((co_await session->client.ask_write(0, bytes_of('a', 512))).error, 0u);
  const std::uint64_t end = storage().bytes.size();
  EXPECT_NE((co_await session->client.ask(Command::kRead, end, 512)).error, 0u);
  EXPECT_NE((co_await session->client.ask(static_cast<Command>(77), 0, 0)).error, 0u);
  session->transmission.refuse();
  EXPECT_NE((co_await session->client.ask(Command::kTrim, 0, 512)).error, 0u);
  co_await session->end();
  EXPECT_EQ(errors(Verb::kFlush, ErrorClass::kIo), 1u);
  EXPECT_EQ(errors(Verb::kWrite, ErrorClass::kNoSpace), 1u);
  EXPECT_EQ(errors(Verb::kRead, ErrorClass::kInvalid), 1u);
  EXPECT_EQ(errors(Verb::kDiscard, ErrorClass::kShutdown), 1u);
  EXPECT_EQ(operations(Verb::kWrite), 2u);
  EXPECT_EQ(bytes(Verb::kWrite), 512u);
  std::uint64_t all = 0;
  for (const auto& counted : client().operations) all += counted.load();
  EXPECT_EQ(all, 5u);
}

TASK_TEST_P(TransmissionCountsTest, TheOldestRequestInFlightIsTheOneThatBeganFirst) {
  aio::Event gate(reactor());
  storage().immediate = false;
  storage().read_gate = &gate;
  auto session = connect();
  co_await session->client.request(Command::kRead, 1, 0, 512);
  co_await until([&] { return client().in_flight.load() == 1; });
  const std::uint64_t first_ns = client().oldest_since_ns.load();
  EXPECT_GT(first_ns, 0u);
  EXPECT_LE(first_ns, reactor().now_ns());
  co_await session->client.request(Command::kRead, 2, 0, 512);
  co_await until([&] { return client().in_flight.load() == 2; });
  EXPECT_EQ(client().oldest_since_ns.load(), first_ns);
  EXPECT_EQ(operations(Verb::kRead), 0u);
  gate.set();
  (void)co_await session->client.answer();
  (void)co_await session->client.answer();
  co_await session->end();
  EXPECT_EQ(client().in_flight.load(), 0u);
  EXPECT_EQ(operations(Verb::kRead), 2u);
}

TASK_TEST_P(TransmissionCountsTest, MergedAndLargeWritesCountWhatTheClientSent) {
  auto session = connect();
  Bytes run;
  for (std::uint64_t i = 0; i < 8; ++i) {
    Bytes one = session->client.codec().write(1 + i, i * 512, bytes_of('b', 512));
    run.insert(run.end(), one.begin(), one.end());
  }
  co_await session->client.send(std::move(run));
  for (int i = 0; i < 8; ++i) EXPECT_EQ((co_await session->client.answer()).error, 0u);
  EXPECT_EQ((co_await session->client.ask_write(0, bytes_of('c', 512u << 10))).error, 0u);
  co_await session->end();
  EXPECT_EQ(operations(Verb::kWrite), 9u);
  EXPECT_EQ(bytes(Verb::kWrite), 8u * 512 + (512u << 10));
  EXPECT_EQ(latencies(Verb::kWrite), 9u);
}

}  // namespace
}  // namespace blockexport::nbd::testing
