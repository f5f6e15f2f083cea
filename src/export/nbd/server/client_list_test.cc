// ClientList: the barrier, by which a newcomer is served after the acknowledgement of every reactor, and not before.
#include "export/nbd/server/client_list.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <semaphore>

#include "aio/testing/interleaving.h"
#include "aio/testing/threads.h"
#include "export/nbd/testing/slow_blocks.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

// An export as its clients need it, over slow blocks.
struct SharedBlocks {
  TransmissionContext context(aio::DataReactor& data_reactor) {
    return {.reactor = data_reactor.reactor,
            .pool = data_reactor.pool,
            .process_budget = budget,
            .edge = edge,
            .fence = fence,
            .trace = trace,
            .peer = "test"};
  }

  block::Node node{"disk", std::make_unique<SlowBlocks>()};
  block::Edge edge{node, {.name = "root"}, {}};
  aio::ProcessBudget budget;
  exports::WriteFence fence;
  ClientList clients;
  Trace trace;
};

Task<void> ask_once(Connected& client, bool& was_answered) {
  Answer answer = co_await client.client.ask(Command::kRead, 0, kBlockBytes);
  was_answered = !answer.ended && answer.error == 0;
}

// Reactors on one thread; the test decides which of them runs.
class ClientListTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kReactors = 3;
  static constexpr int kManyTurns = 2000;

  ~ClientListTest() override {
    for (auto& one : clients_) one->client.close();
    for (auto& one : clients_) turn_until(kReactors, [&] { return one->scope.size() == 0; });
    turn_until(kReactors, [&] { return asking_.size() == 0; });
  }

  Connected& connect(std::size_t reactor) {
    aio::DataReactor& data_reactor = reactors_.data_reactor(reactor);
    clients_.push_back(std::make_unique<Connected>(reactors_.control(), data_reactor, shared_.context(data_reactor),
                                                   shared_.clients, reactors_.simulation().socket_pair()));
    return *clients_.back();
  }
  // Connects at `reactor` and sends a READ of a block; sets `was_answered` when the reply arrives.
  void connect_and_ask(std::size_t reactor, bool& was_answered) {
    asking_.spawn("client", ask_once(connect(reactor), was_answered));
  }
  // Runs one turn of each reactor except `held`; kReactors runs all.
  void turn_all_but(std::size_t held) {
    for (std::size_t i = 0; i < kReactors; ++i) {
      if (i != held) reactors_.data_reactor(i).reactor.run_once(1000);
    }
  }
  template <class Condition>
  bool turn_until(std::size_t held, Condition condition) {
    for (int turn = 0; turn < kManyTurns && !condition(); ++turn) turn_all_but(held);
    return condition();
  }

  aio::testing::Interleaving reactors_{kReactors, {.seed = 1}};
  SharedBlocks shared_;
  aio::Scope asking_{reactors_.control()};
  std::vector<std::unique_ptr<Connected>> clients_;
};

TEST_F(ClientListTest, AReactorThatDoesNotAcknowledgeHoldsTheNewcomerBack) {
  for (std::size_t held = 1; held < kReactors; ++held) {
    for (std::size_t reactor = 0; reactor < kReactors; ++reactor) {
      bool was_answered = false;
      connect_and_ask(reactor, was_answered);
      ASSERT_TRUE(turn_until(kReactors, [&] { return was_answered; }));
    }
    bool newcomer_was_answered = false;
    connect_and_ask(0, newcomer_was_answered);
    EXPECT_FALSE(turn_until(held, [&] { return newcomer_was_answered; })) << held;
    EXPECT_TRUE(turn_until(kReactors, [&] { return newcomer_was_answered; })) << held;
  }
}

TEST_F(ClientListTest, TheBarrierDoesNotWaitForAReactorWithoutClientsOfTheExport) {
  bool was_answered = false;
  connect_and_ask(1, was_answered);
  ASSERT_TRUE(turn_until(kReactors, [&] { return was_answered; }));
  bool newcomer_was_answered = false;
  connect_and_ask(0, newcomer_was_answered);
  EXPECT_TRUE(turn_until(2, [&] { return newcomer_was_answered; }));
}

// The second reactor acknowledges while the first one does not run, and needs no further turn when the first one runs
// again.
TEST_F(ClientListTest, ReactorsAcknowledgeInParallel) {
  for (std::size_t reactor : {1u, 2u}) {
    bool was_answered = false;
    connect_and_ask(reactor, was_answered);
    ASSERT_TRUE(turn_until(kReactors, [&] { return was_answered; }));
  }
  bool newcomer_was_answered = false;
  connect_and_ask(0, newcomer_was_answered);
  EXPECT_FALSE(turn_until(1, [&] { return newcomer_was_answered; }));
  EXPECT_TRUE(turn_until(2, [&] { return newcomer_was_answered; }));
}

class ClientListThreadsTest : public aio::testing::WithThreads {
 protected:
  std::unique_ptr<Connected> connect(aio::DataReactor& data_reactor) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    return std::make_unique<Connected>(reactor(), data_reactor, shared_.context(data_reactor), shared_.clients,
                                       std::pair(ends[0], ends[1]));
  }

  SharedBlocks shared_;
};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(ClientListThreadsTest);

TEST_P(ClientListThreadsTest, AReactorThatIsBeingEndedAcknowledges) {
  std::unique_ptr<aio::ReactorThread> ending = start_thread("ending");
  std::binary_semaphore may_go_on(0);
  ending->data_reactor().reactor.post([&may_go_on] { may_go_on.acquire(); });
  bool has_acknowledged = false;
  aio::Scope barrier(reactor());
  // The work that the list posts to each of its reactors.
  ClientList clients;
  PlacedTransmission old_client(reactor(), ending->data_reactor(), shared_.context(ending->data_reactor()));
  PlacedTransmission newcomer(reactor(), here(), shared_.context(here()));
  clients.attach(old_client);
  clients.attach(newcomer);
  barrier.spawn("barrier", [](ClientList& list, bool& passed) -> Task<void> {
    co_await list.pass_barrier();
    passed = true;
  }(clients, has_acknowledged));
  for (int turn = 0; turn < 20; ++turn) reactor().run_once(1'000'000);
  EXPECT_FALSE(has_acknowledged);
  clients.detach(old_client);
  may_go_on.release();
  // Ends the thread and waits for its end; all work that was posted to it before is done by then.
  ending.reset();
  run(barrier.join());
  EXPECT_TRUE(has_acknowledged);
  clients.detach(newcomer);
}

}  // namespace
}  // namespace blockexport::nbd::testing
