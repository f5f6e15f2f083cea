#include "export/registry.h"

#include <gtest/gtest.h>

#include <optional>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "export/nbd/testing/storage.h"

namespace blockexport::exports {
namespace {

using aio::Task;

// An export with as many clients as a test needs, which leave when they are told to.
class FakeExport final : public Export {
 public:
  using Export::Export;
  std::string_view type() const override { return "fake"; }
  std::size_t client_count() const override { return clients; }
  bool waits_for_storage() const override { return storage_waits == clients; }
  void one_leaves() {
    --clients;
    client_left();
  }

  // True if a client's remaining work is a request that storage has not completed.
  void one_waits_for_storage() {
    ++storage_waits;
    client_was_cut();
  }

  std::size_t clients = 0;
  std::size_t storage_waits = 0;
  std::vector<RemoveMode> told;
  std::vector<std::uint64_t> sizes;  // sizes that it was notified of

 private:
  void resized() override { sizes.push_back(edge().node().size_bytes()); }
  void leave(RemoveMode mode) override { told.push_back(mode); }
};

class RegistryTest : public ::testing::Test {
 protected:
  ~RegistryTest() override {
    aio::testing::run(*reactor_, registry_.remove_all(RemoveMode::kHard, [](auto&) { return true; }));
  }

  FakeExport& add(std::string id, std::size_t clients = 0) {
    auto edge = std::make_unique<block::Edge>(backing_.node, block::EdgeParent{.name = "root"}, block::Permissions{});
    auto made = std::make_unique<FakeExport>(ExportOptions{.id = std::move(id)}, std::move(edge));
    FakeExport& added = *made;
    added.clients = clients;
    registry_.add(std::move(made));
    return added;
  }
  static std::string message(const Result<>& result) { return result ? "" : result.error().message(); }
  Result<> remove(const std::string& id, RemoveMode mode) {
    Result<> result;
    aio::testing::run(*reactor_, [](Registry& registry, std::string name, RemoveMode how, Result<>& out) -> Task<void> {
      out = co_await registry.remove(name, how);
    }(registry_, id, mode, result));
    return result;
  }
  Task<void> let_go(std::unique_ptr<block::Edge> edge) {
    if (slow_to_let_go_ != nullptr) (void)co_await slow_to_let_go_->wait();
    edge.reset();
  }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  nbd::testing::Backing backing_{*reactor_, 4096};
  std::vector<std::string> deleted_;
  aio::Event* slow_to_let_go_ = nullptr;
  Registry registry_{*reactor_, [this](std::unique_ptr<block::Edge> edge) { return let_go(std::move(edge)); },
                     [this](const std::string& id) {
                       // By then the export has been destroyed.
                       EXPECT_EQ(registry_.find(id), nullptr);
                       deleted_.push_back(id);
                     }};
};

TEST_F(RegistryTest, IdsAreWellFormedAndUsedOnce) {
  EXPECT_EQ(message(registry_.check_id("")), "Invalid block export id");
  EXPECT_EQ(message(registry_.check_id("1a")), "Invalid block export id");
  EXPECT_EQ(message(registry_.check_id("a b")), "Invalid block export id");
  EXPECT_EQ(message(registry_.check_id("a-1._x")), "");
  add("a");
  EXPECT_EQ(message(registry_.check_id("a")), "Block export id 'a' is already in use");
}

TEST_F(RegistryTest, ListsTheNewestFirst) {
  add("one");
  add("two");
  ASSERT_EQ(registry_.list().size(), 2u);
  EXPECT_EQ(registry_.list()[0]->id(), "two");
  EXPECT_EQ(registry_.list()[1]->id(), "one");
}

TEST_F(RegistryTest, AnExportWithoutClientsEndsAtOnceInEachMode) {
  for (RemoveMode mode :
       {RemoveMode::kSafe, RemoveMode::kHide, RemoveMode::kSoft, RemoveMode::kFinish, RemoveMode::kHard}) {
    add("a");
    EXPECT_EQ(message(remove("a", mode)), "");
    EXPECT_EQ(registry_.find("a"), nullptr);
  }
  EXPECT_EQ(deleted_.size(), 5u);
}

TEST_F(RegistryTest, SafeRemovalIsRefusedWhileThereAreClients) {
  FakeExport& used = add("a", 1);
  Result<> removed = remove("a", RemoveMode::kSafe);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().message(), "export 'a' still in use");
  EXPECT_NE(removed.error().hint(), "");
  EXPECT_FALSE(used.shutting_down());
  EXPECT_TRUE(used.told.empty());
  used.clients = 0;
}

TEST_F(RegistryTest, AnExportStaysUntilTheLastClientHasLeft) {
  FakeExport& used = add("a", 2);
  EXPECT_EQ(message(remove("a", RemoveMode::kHide)), "");
  EXPECT_TRUE(used.shutting_down());
  EXPECT_EQ(registry_.find("a"), &used);
  EXPECT_EQ(message(registry_.check_id("a")), "Block export id 'a' is already in use");
  used.one_leaves();
  EXPECT_TRUE(deleted_.empty());
  used.one_leaves();
  EXPECT_EQ(deleted_, std::vector<std::string>{"a"});
}

TEST_F(RegistryTest, AClientThatLeavesDoesNotRemoveItsExport) {
  FakeExport& used = add("a", 1);
  used.one_leaves();
  EXPECT_EQ(registry_.find("a"), &used);
}

TEST_F(RegistryTest, OnlyASharperModeMayFollow) {
  FakeExport& used = add("a", 1);
  used.one_waits_for_storage();
  EXPECT_EQ(message(remove("a", RemoveMode::kSoft)), "");
  EXPECT_EQ(message(remove("a", RemoveMode::kSoft)), "Export 'a' is already shutting down");
  EXPECT_EQ(message(remove("a", RemoveMode::kHide)), "Export 'a' is already shutting down");
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "");
  EXPECT_EQ(used.told, (std::vector<RemoveMode>{RemoveMode::kSoft, RemoveMode::kHard}));
  used.one_leaves();
}

// Requests a hard removal, and records the result.
Task<void> remove_hard(Registry& registry, std::optional<std::string>& answer) {
  Result<> removed = co_await registry.remove("a", RemoveMode::kHard);
  answer = removed ? "" : removed.error().message();
}

TEST_F(RegistryTest, AHardRemovalIsDoneWhenItIsAnswered) {
  FakeExport& used = add("a", 2);
  aio::Scope scope(*reactor_);
  std::optional<std::string> answer;
  scope.spawn("remove", remove_hard(registry_, answer));
  used.one_leaves();
  EXPECT_FALSE(answer);
  used.one_leaves();
  while (!answer) reactor_->run_once(0);
  EXPECT_EQ(*answer, "");
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "Export 'a' is not found");
  aio::testing::run(*reactor_, scope.join());
}

TEST_F(RegistryTest, AHardRemovalDoesNotWaitForStorage) {
  FakeExport& used = add("a", 2);
  aio::Scope scope(*reactor_);
  std::optional<std::string> answer;
  scope.spawn("remove", remove_hard(registry_, answer));
  used.one_waits_for_storage();
  for (int turn = 0; turn < 10; ++turn) reactor_->run_once(0);
  EXPECT_FALSE(answer);
  used.one_waits_for_storage();
  while (!answer) reactor_->run_once(0);
  EXPECT_EQ(*answer, "");
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "Export 'a' is already shutting down");
  used.one_leaves();
  used.one_leaves();
  aio::testing::run(*reactor_, scope.join());
}

TEST_F(RegistryTest, AHardRemovalWaitsALimitedTimeForClientsThatDoNotEnd) {
  FakeExport& used = add("a", 1);
  const std::uint64_t began_ns = reactor_->now_ns();
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "");
  EXPECT_GE(reactor_->now_ns() - began_ns, kHardRemovalWaitNs);
  EXPECT_EQ(registry_.find("a"), &used);
  used.one_leaves();
}

TEST_F(RegistryTest, AWaitForAnExportIgnoresTheNextOneOfItsName) {
  add("a", 1).one_waits_for_storage();
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "");
  bool done = false;
  aio::Scope scope(*reactor_);
  scope.spawn("remove", [](Registry& registry, bool& ended) -> Task<void> {
    co_await registry.remove_all(RemoveMode::kHard, [](const Export&) { return true; });
    ended = true;
  }(registry_, done));
  static_cast<FakeExport*>(registry_.find("a"))->one_leaves();
  add("a", 1);
  simulation_.run_until_idle(*reactor_);
  EXPECT_TRUE(done);
  EXPECT_NE(registry_.find("a"), nullptr);
  static_cast<FakeExport*>(registry_.find("a"))->clients = 0;
  aio::testing::run(*reactor_, scope.join());
}

TEST_F(RegistryTest, AnExportExistsUntilItsEdgeIsReleased) {
  aio::Event let_go(*reactor_);
  slow_to_let_go_ = &let_go;
  FakeExport& used = add("a", 1);
  used.one_waits_for_storage();
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "");
  used.one_leaves();
  simulation_.run_until_idle(*reactor_);
  EXPECT_EQ(registry_.find("a"), &used);
  EXPECT_EQ(message(registry_.check_id("a")), "Block export id 'a' is already in use");
  let_go.set();
  simulation_.run_until_idle(*reactor_);
  EXPECT_EQ(registry_.find("a"), nullptr);
  EXPECT_EQ(deleted_, std::vector<std::string>{"a"});
  slow_to_let_go_ = nullptr;
}

TEST_F(RegistryTest, RemovingAllBeginsWithTheNewest) {
  for (const char* id : {"first", "second", "third"}) add(id);
  aio::testing::run(*reactor_, registry_.remove_all(RemoveMode::kFinish, [](const Export&) { return true; }));
  EXPECT_EQ(deleted_, (std::vector<std::string>{"third", "second", "first"}));
}

TEST_F(RegistryTest, AMissingExportCannotBeRemoved) {
  EXPECT_EQ(message(remove("a", RemoveMode::kHard)), "Export 'a' is not found");
}

TEST_F(RegistryTest, NotifiesAnExportOnceOfANewSizeOfItsNode) {
  FakeExport& one = add("one");
  registry_.nodes_resized();
  EXPECT_TRUE(one.sizes.empty());
  backing_.storage.bytes.resize(8192);
  FakeExport& later = add("later");
  registry_.nodes_resized();
  registry_.nodes_resized();
  EXPECT_EQ(one.sizes, std::vector<std::uint64_t>{8192});
  EXPECT_TRUE(later.sizes.empty());
}

TEST_F(RegistryTest, AnExportThatIsBeingErasedHasNoNodeAnyLonger) {
  aio::Event gate(*reactor_);
  slow_to_let_go_ = &gate;
  const FakeExport& one = add("one");
  aio::Scope scope(*reactor_);
  scope.spawn("remove", [](Registry& registry) -> Task<void> {
    EXPECT_TRUE(co_await registry.remove("one", RemoveMode::kSafe));
  }(registry_));
  backing_.storage.bytes.resize(8192);
  registry_.nodes_resized();
  EXPECT_TRUE(one.sizes.empty());
  gate.set();
  aio::testing::run(*reactor_, scope.join());
  EXPECT_EQ(deleted_, std::vector<std::string>{"one"});
}

TEST_F(RegistryTest, TheNextClientGetsTheReactorOfTheExportWithTheFewest) {
  aio::DataReactor control(*reactor_);
  Log log("registry_test", 2, LogLevel::kError);
  aio::ReactorPool pool(control, {}, log, 1);
  aio::DataReactor first(*reactor_);
  aio::DataReactor second(*reactor_);
  FakeExport without({.id = "pool"}, std::make_unique<block::Edge>(backing_.node, block::EdgeParent{.name = "root"},
                                                                   block::Permissions{}));
  FakeExport with(
      {.id = "own", .reactors = {&first, &second}},
      std::make_unique<block::Edge>(backing_.node, block::EdgeParent{.name = "root"}, block::Permissions{}));
  const aio::ReactorPool::Assignment of_pool = without.assign_reactor(pool);
  EXPECT_EQ(&of_pool.data_reactor(), &control);
  const aio::ReactorPool::Assignment one = with.assign_reactor(pool);
  const aio::ReactorPool::Assignment two = with.assign_reactor(pool);
  EXPECT_EQ(&one.data_reactor(), &first);
  EXPECT_EQ(&two.data_reactor(), &second);
}

TEST_F(RegistryTest, RemovingAllWaitsForTheLastClientOfEach) {
  FakeExport& one = add("one", 1);
  FakeExport& two = add("two", 1);
  FakeExport& other = add("other", 1);
  add("idle");
  bool done = false;
  aio::Scope scope(*reactor_);
  scope.spawn("remove", [](Registry& registry, bool& ended) -> Task<void> {
    co_await registry.remove_all(RemoveMode::kFinish, [](const Export& one) { return one.id() != "other"; });
    ended = true;
  }(registry_, done));
  EXPECT_EQ(deleted_, std::vector<std::string>{"idle"});
  EXPECT_TRUE(other.told.empty());
  EXPECT_EQ(two.told, std::vector<RemoveMode>{RemoveMode::kFinish});
  one.one_leaves();
  simulation_.run_until_idle(*reactor_);
  EXPECT_FALSE(done);
  two.one_leaves();
  simulation_.run_until_idle(*reactor_);
  EXPECT_TRUE(done);
  EXPECT_EQ(deleted_, (std::vector<std::string>{"idle", "one", "two"}));
  other.clients = 0;
}

}  // namespace
}  // namespace blockexport::exports
