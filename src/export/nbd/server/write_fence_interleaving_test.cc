// The write fence's property (write_fence.h) over random orders of the turns of simulated reactors: a client's
// acknowledged writes stay, whatever writes of earlier lost clients are still on their way.
#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "aio/testing/interleaving.h"
#include "export/nbd/testing/slow_blocks.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::uint64_t kSeeds = 300;
constexpr int kClients = 12;
constexpr std::size_t kReactors = 3;
constexpr std::uint64_t kPauseNsMax = 1'000'000;

class Succession {
 public:
  explicit Succession(std::uint64_t seed) : reactors_(kReactors, {.seed = seed, .latency_max_ns = 300'000}) {}

  // Each client leaves unanswered writes and ends, some before their service begins. The next one connects after that
  // end and writes every block.
  Task<void> succeed_each_other() {
    std::deque<std::unique_ptr<Connected>> dead;
    for (int number = 0; number < kClients; ++number) {
      auto successor = connect();
      co_await check(*successor, static_cast<char>('a' + number));
      dead.push_back(std::move(successor));
      co_await leave_writes(*dead.back());
      // Clients without a task of their own: they send and end at once.
      for (std::uint64_t more = random().below(3); more > 0; --more) {
        dead.push_back(connect());
        co_await leave_writes(*dead.back());
      }
    }
    for (auto& one : dead) co_await one->scope.join();
  }

  aio::testing::Interleaving& reactors() { return reactors_; }
  bool is_over() const { return !fence_.is_up() && clients_.size() == 0 && budget_.used_bytes() == 0; }
  const std::string& fault() const { return fault_; }

 private:
  aio::Random& random() { return reactors_.random(); }

  std::unique_ptr<Connected> connect() {
    aio::DataReactor& data_reactor = reactors_.data_reactor(random().below(reactors_.size()));
    TransmissionContext context{.reactor = data_reactor.reactor,
                                .pool = data_reactor.pool,
                                .process_budget = budget_,
                                .edge = edge_,
                                .fence = fence_,
                                .trace = trace_,
                                .peer = "test"};
    return std::make_unique<Connected>(reactors_.control(), data_reactor, context, clients_,
                                       reactors_.simulation().socket_pair());
  }

  Task<void> pause() {
    aio::Reactor& reactor = reactors_.control();
    if (random().one_in(2)) (void)co_await reactor.sleep_until(reactor.now_ns() + random().below(kPauseNsMax));
  }

  Task<void> leave_writes(Connected& dying) {
    for (std::uint64_t cookie = random().between(1, 8); cookie > 0; --cookie) {
      (void)co_await dying.client.write(cookie, random().below(kBlocks) * kBlockBytes, bytes_of('!', kBlockBytes));
    }
    co_await pause();
    dying.client.close();
  }

  Task<void> check(Connected& successor, char fill) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      Answer written = co_await successor.client.ask_write(block * kBlockBytes, bytes_of(fill, kBlockBytes));
      if (written.ended || written.error != 0) fault_ = "a write failed";
    }
    co_await pause();
    Answer read = co_await successor.client.ask(Command::kRead, 0, kBlocks * kBlockBytes);
    if (read.data != bytes_of(fill, kBlocks * kBlockBytes)) fault_ = std::string("overwritten: ") + fill;
  }

  aio::testing::Interleaving reactors_;
  block::Node node_{"disk", std::make_unique<SlowBlocks>()};
  block::Edge edge_{node_, {.name = "root"}, {}};
  aio::ProcessBudget budget_;
  exports::WriteFence fence_;
  ClientList clients_;
  Trace trace_;
  std::string fault_;
};

TEST(WriteFenceInterleavingTest, AnAcknowledgedWriteIsNotOverwrittenByAClientThatDiedBefore) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Succession succession(seed);
    succession.reactors().run(succession.succeed_each_other());
    ASSERT_EQ(succession.fault(), "") << "seed " << seed;
    ASSERT_TRUE(succession.is_over()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace blockexport::nbd::testing
