// Server: limits for the work that unauthenticated peers can cause on the control reactor in one turn, counted in turns
// of a simulation and not in time.
#include <gtest/gtest.h>

#include <deque>

#include "aio/task/current.h"
#include "aio/testing/simulation.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server.h"
#include "export/nbd/testing/handshake.h"
#include "export/nbd/testing/storage.h"
#include "export/registry.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::size_t kExports = 600;
constexpr std::size_t kFlooders = 20;

// Counts of the bytes that all floods together have received.
struct FloodCounts {
  std::size_t sends = 0;
  std::size_t bytes = 0;
  bool over = false;  // the peers leave
};

// A peer that sends without a pause and reads all replies: it always has bytes to receive and accepts bytes to send.
class FloodStream final : public net::Stream {
 public:
  FloodStream(FloodCounts& counts, Bytes question) : counts_(counts), question_(std::move(question)) {
    input_ = ClientBytes().u32(3).bytes();
  }
  IoCount try_receive(std::span<std::byte> buffer) override {
    if (counts_.over || shut_down_) return std::size_t{0};
    while (input_.size() < buffer.size()) input_.insert(input_.end(), question_.begin(), question_.end());
    std::copy_n(input_.begin(), buffer.size(), buffer.begin());
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(buffer.size()));
    return buffer.size();
  }
  IoCount try_send(std::span<const iovec> vectors) override {
    if (shut_down_) return fail(EPIPE);
    std::size_t bytes = 0;
    for (const iovec& vector : vectors) bytes += vector.iov_len;
    ++counts_.sends;
    counts_.bytes += bytes;
    return bytes;
  }
  Task<IoResult> readable() override { co_return IoResult{}; }
  Task<IoResult> writable() override { co_return IoResult{}; }
  Task<IoResult> hung_up() override { co_return IoResult{}; }
  void shut_down() override { shut_down_ = true; }
  void detach() override {}
  void attach(aio::Reactor&) override {}

 private:
  FloodCounts& counts_;
  Bytes question_;
  Bytes input_;
  bool shut_down_ = false;
};

// A client that waits for the reply to each message before it sends the next one, which it does a turn later.
class PoliteStream final : public net::Stream {
 public:
  explicit PoliteStream(std::size_t& answers) : answers_(answers) {
    messages_.push_back(ClientBytes().u32(3).option(Option::kStructuredReply).bytes());
    messages_.push_back(ClientBytes().meta(Option::kSetMetaContext, "export-number-7", {"base:allocation"}).bytes());
    messages_.push_back(ClientBytes().info(Option::kInfo, "export-number-7").bytes());
    messages_.push_back(ClientBytes().info(Option::kGo, "export-number-7").bytes());
  }
  IoCount try_receive(std::span<std::byte> buffer) override {
    if (messages_.empty()) return std::size_t{0};
    if (!std::exchange(may_speak_, false)) return fail(EAGAIN);
    const Bytes message = messages_.front();
    messages_.pop_front();
    std::copy(message.begin(), message.end(), buffer.begin());
    return message.size();
  }
  IoCount try_send(std::span<const iovec> vectors) override {
    std::size_t bytes = 0;
    for (const iovec& vector : vectors) bytes += vector.iov_len;
    ++answers_;
    was_answered_ = true;
    return bytes;
  }
  Task<IoResult> readable() override {
    co_await aio::next_turn();
    may_speak_ = std::exchange(was_answered_, false);
    co_return IoResult{};
  }
  Task<IoResult> writable() override { co_return IoResult{}; }
  Task<IoResult> hung_up() override { co_return IoResult{}; }
  void shut_down() override {}
  void detach() override {}
  void attach(aio::Reactor&) override {}

 private:
  std::size_t& answers_;
  std::deque<Bytes> messages_;
  bool was_answered_ = false;
  bool may_speak_ = false;
};

class ServerTurnsTest : public ::testing::TestWithParam<const char*> {
 protected:
  ServerTurnsTest() {
    for (std::size_t i = 0; i < kExports; ++i) {
      NbdExportOptions options{.common = {.id = "export" + std::to_string(i)},
                               .name = "export-number-" + std::to_string(i)};
      auto edge = std::make_unique<block::Edge>(backing_.node, block::EdgeParent{.name = "root"}, block::Permissions{});
      registry_.add(std::make_unique<NbdExport>(names_, options, std::move(edge)));
    }
  }
  ~ServerTurnsTest() override {
    counts_.over = true;
    aio::testing::run(*reactor_, stop());
  }

  Task<void> stop() {
    co_await registry_.remove_all(exports::RemoveMode::kHard, [](const exports::Export&) { return true; });
    co_await server_.close_connections();
    co_await server_.stop_listening();
  }
  Bytes question() const {
    const std::string_view kind = GetParam();
    if (kind == "list") return ClientBytes().option(Option::kList).bytes();
    if (kind == "info") return ClientBytes().info(Option::kInfo, "export-number-7").bytes();
    if (kind == "contexts") return ClientBytes().meta(Option::kListMetaContext, "export-number-7", {"base:"}).bytes();
    return ClientBytes().option(static_cast<Option>(99), Bytes(4000)).bytes();
  }
  void flood() {
    for (std::uint64_t i = 0; i < kFlooders; ++i) {
      server_.admit(std::make_unique<FloodStream>(counts_, question()), "flooder", {.family = 1, .number = i}, i + 1);
    }
  }
  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  Log log_{"server_turns_test", 2, LogLevel::kError};
  ExportNames names_;
  Backing backing_{*reactor_};
  aio::DataReactor control_{*reactor_};
  aio::ReactorPool reactors_{control_, {}, log_, 1};
  aio::Event serving_{*reactor_};
  exports::Registry registry_{*reactor_, [](std::unique_ptr<block::Edge>) -> Task<void> { co_return; },
                              [](const std::string&) {}};
  Server server_{*reactor_, reactors_, backing_.budget, log_, serving_, names_, {.max_connections = 0}};
  FloodCounts counts_;
};
INSTANTIATE_TEST_SUITE_P(Floods, ServerTurnsTest, ::testing::Values("list", "info", "contexts", "unknown"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ServerTurnsTest, ATurnDoesOneStepOfLongHandshakes) {
  flood();
  // Each flood has used up the steps that every client has at once.
  for (int turn = 0; turn < 3; ++turn) reactor_->run_once(0);
  std::size_t sends_before = counts_.sends;
  std::size_t bytes_before = counts_.bytes;
  for (int turn = 0; turn < 1000; ++turn) {
    reactor_->run_once(0);
    EXPECT_LE(counts_.sends - std::exchange(sends_before, counts_.sends), 1u);
    EXPECT_LE(counts_.bytes - std::exchange(bytes_before, counts_.bytes), 96u << 10);
  }
  EXPECT_GE(counts_.sends, 400u);
}

TEST_P(ServerTurnsTest, FloodsDoNotDelayANewClient) {
  flood();
  for (int turn = 0; turn < 100; ++turn) reactor_->run_once(0);
  std::size_t answers = 0;
  server_.admit(std::make_unique<PoliteStream>(answers), "polite", {.family = 2, .number = 0}, kFlooders + 1);
  // The greeting and four replies; the flood does one step in each turn.
  for (int turn = 0; turn < 10; ++turn) reactor_->run_once(0);
  EXPECT_EQ(answers, 5u);
}

}  // namespace
}  // namespace blockexport::nbd::testing
