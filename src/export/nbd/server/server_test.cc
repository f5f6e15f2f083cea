// Server over unix sockets: admission of clients, limits, and the end of the server.
#include "export/nbd/server/server.h"

#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "aio/testing/descriptor_limit.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/testing/client.h"
#include "export/nbd/testing/storage.h"
#include "export/registry.h"
#include "net/connect.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;
using exports::RemoveMode;

class ServerTest : public ::testing::TestWithParam<const char*> {
 protected:
  template <class Test>
  Task<void> body();

  void SetUp() override {
    aio::ReactorOptions options;
    options.backend = std::string_view(GetParam()) == "epoll" ? aio::BackendKind::kEpoll : aio::BackendKind::kIoUring;
    auto made = aio::Reactor::create(options, log_);
    if (!made) GTEST_SKIP() << made.error().message();
    reactor_ = std::move(*made);
    backing_.emplace(*reactor_);
    control_.emplace(*reactor_);
    reactors_.emplace(*control_, options, log_, 1);
    serving_.emplace(*reactor_);
    serving_->set();
    registry_.emplace(
        *reactor_, [](std::unique_ptr<block::Edge>) -> Task<void> { co_return; },
        [this](const std::string& id) { deleted_.push_back(id); });
  }
  void TearDown() override {
    if (!reactor_) return;
    run(stop());
    EXPECT_EQ(backing_->budget.used_bytes(), 0u);
    EXPECT_EQ(access(path().c_str(), F_OK), -1) << "the socket's path still exists";
  }

  void run(Task<void> task) { aio::testing::run(*reactor_, std::move(task)); }

  Task<void> start(ServerOptions options = {}) {
    server_ = std::make_unique<Server>(*reactor_, *reactors_, backing_->budget, log_, *serving_, names_, options);
    auto listener = co_await net::Listener::open(*reactor_, net::UnixAddress{.path = path()});
    EXPECT_TRUE(listener.has_value());
    if (listener) server_->listen_on(std::move(*listener));
  }
  Task<void> stop() {
    if (!server_) co_return;
    co_await server_->stop_listening();
    co_await registry_->remove_all(RemoveMode::kFinish, [](const exports::Export&) { return true; });
    co_await server_->close_connections();
    server_.reset();
  }

  NbdExport& add(const std::string& name, bool writable = true) {
    NbdExportOptions options{.common = {.id = name, .writable = writable}, .name = name};
    EXPECT_TRUE(NbdExport::check(names_, server_->state().requires_tls(), options).has_value());
    auto edge = std::make_unique<block::Edge>(backing_->node, block::EdgeParent{.name = "root"}, block::Permissions{});
    return static_cast<NbdExport&>(registry_->add(std::make_unique<NbdExport>(names_, options, std::move(edge))));
  }

  // A connection on which nothing was sent yet.
  Task<std::unique_ptr<net::Stream>> dial() {
    auto fd = co_await net::connect(*reactor_, net::UnixAddress{.path = path()});
    EXPECT_TRUE(fd.has_value());
    dialed_fd_ = fd ? fd->get() : -1;
    co_return fd ? std::make_unique<net::SocketStream>(*reactor_, fd->release()) : nullptr;
  }
  // Receives `count` bytes, or fewer when the stream ends before.
  Task<Bytes> receive(net::Stream& stream, std::size_t count) {
    Bytes bytes(count);
    std::size_t at = 0;
    while (at < count) {
      IoCount received = co_await net::receive_some(stream, std::span(bytes).subspan(at));
      if (!received || *received == 0) break;
      at += *received;
    }
    bytes.resize(at);
    co_return bytes;
  }
  // Receives the greeting and requests the export `name`.
  Task<void> choose(net::Stream& stream, std::string_view name) {
    EXPECT_EQ((co_await receive(stream, kGreetingBytes)).size(), kGreetingBytes);
    Bytes words = ClientBytes().u32(3).export_name(name).bytes();
    EXPECT_TRUE(co_await net::send_all(stream, words));
  }
  // The server's reply to choose(): the export's size, or nothing when it closed the connection.
  Task<std::optional<std::uint64_t>> chosen(net::Stream& stream) {
    Bytes answer = co_await receive(stream, 10);
    if (answer.size() < 10) co_return std::nullopt;
    co_return ByteReader(answer).u64();
  }
  Task<std::unique_ptr<Client>> connect(std::string_view name) {
    auto stream = co_await dial();
    co_await choose(*stream, name);
    auto size = co_await chosen(*stream);
    if (!size) co_return nullptr;
    EXPECT_EQ(*size, backing_->storage.bytes.size());
    co_return std::make_unique<Client>(std::move(stream), HeaderMode::kSimple);
  }
  Task<void> pause() { (void)co_await reactor_->sleep_until(reactor_->now_ns() + 20'000'000); }
  template <class Condition>
  Task<void> until(Condition condition) {
    return aio::testing::until(*reactor_, std::move(condition));
  }
  // Waits until the server has read all bytes that were sent on this connection.
  Task<void> until_read(int fd) {
    return until([fd] {
      int unread = 0;
      return ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0;
    });
  }
  // Number of tasks of the reactor, including those of the test.
  std::size_t count_tasks() {
    std::size_t count = 0;
    for ([[maybe_unused]] aio::TaskRoot& task : reactor_->tasks()) ++count;
    return count;
  }
  std::string path() const { return directory_.path() + "/nbd.sock"; }

  Log log_{"server_test", 2, LogLevel::kError};
  ExportNames names_;
  aio::testing::TemporaryDirectory directory_;
  std::unique_ptr<aio::Reactor> reactor_;
  std::optional<Backing> backing_;
  std::optional<aio::DataReactor> control_;
  std::optional<aio::ReactorPool> reactors_;
  std::optional<aio::Event> serving_;
  std::vector<std::string> deleted_;
  std::optional<exports::Registry> registry_;
  std::unique_ptr<Server> server_;
  int dialed_fd_ = -1;  // of the newest connection
};
INSTANTIATE_TEST_SUITE_P(Backends, ServerTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(ServerTest, AClientReadsAndWrites) {
  co_await start();
  NbdExport& one = add("disk");
  auto client = co_await connect("disk");
  EXPECT_EQ((co_await client->ask_write(100, bytes_of('x', 1000))).error, 0u);
  EXPECT_EQ((co_await client->ask(Command::kRead, 100, 1000)).data, bytes_of('x', 1000));
  EXPECT_EQ(one.client_count(), 1u);
  client->close();
  co_await until([&] { return one.client_count() == 0; });
}

TASK_TEST_P(ServerTest, ManyClientsShareAnExport) {
  co_await start();
  NbdExport& one = add("disk");
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(co_await connect("disk"));
  EXPECT_EQ(one.client_count(), 20u);
  for (std::size_t i = 0; i < 20; ++i) (void)co_await clients[i]->ask_write(i * 512, bytes_of('x', 512));
  EXPECT_EQ((co_await clients[0]->ask(Command::kRead, 0, 20 * 512)).data, bytes_of('x', 20 * 512));
}

TASK_TEST_P(ServerTest, AnUnknownExportEndsTheHandshake) {
  co_await start();
  add("disk");
  EXPECT_EQ(co_await connect("tape"), nullptr);
}

TASK_TEST_P(ServerTest, AHiddenExportIsInvisibleAndItsClientsStay) {
  co_await start();
  add("disk");
  auto client = co_await connect("disk");
  EXPECT_TRUE(co_await registry_->remove("disk", RemoveMode::kHide));
  EXPECT_EQ(server_->state().find("disk"), nullptr);
  EXPECT_EQ(server_->state().next_after(0), nullptr);
  EXPECT_EQ(co_await connect("disk"), nullptr);
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
  EXPECT_TRUE(deleted_.empty());
  client->close();
  co_await until([this] { return deleted_ == std::vector<std::string>{"disk"}; });
}

TASK_TEST_P(ServerTest, ASoftlyRemovedExportAnswersShutdown) {
  co_await start();
  add("disk");
  auto client = co_await connect("disk");
  EXPECT_TRUE(co_await registry_->remove("disk", RemoveMode::kSoft));
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, static_cast<std::uint32_t>(NbdError::kShutdown));
  EXPECT_TRUE(co_await registry_->remove("disk", RemoveMode::kHard));
  EXPECT_TRUE((co_await client->answer()).ended);
  co_await until([this] { return !deleted_.empty(); });
}

TASK_TEST_P(ServerTest, SafeRemovalIsRefusedWhileAClientIsThere) {
  co_await start();
  add("disk");
  auto client = co_await connect("disk");
  EXPECT_FALSE(co_await registry_->remove("disk", RemoveMode::kSafe));
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
}

TASK_TEST_P(ServerTest, ThePreferredBlockSizeSuitsTheNode) {
  co_await start();
  for (std::uint32_t alignment : {1u, 4096u, 65536u}) {
    Backing blocks(*reactor_, 1u << 20, aio::ProcessBudget::kBytesDefault, {.request_alignment = alignment});
    auto edge = std::make_unique<block::Edge>(blocks.node, block::EdgeParent{.name = "root"}, block::Permissions{});
    const NbdExport offered(names_, {.common = {.id = "blocks"}, .name = "blocks"}, std::move(edge));
    EXPECT_EQ(offered.info().block_sizes.minimum, alignment);
    EXPECT_EQ(offered.info().block_sizes.preferred, std::max(4096u, alignment));
  }
}

TASK_TEST_P(ServerTest, TheSizeIsAMultipleOfTheMinimumWhateverTheNodesAlignment) {
  struct Case {
    std::uint64_t size_bytes;
    std::uint32_t alignment, minimum;
  };
  co_await start();
  for (Case with : {Case{0, 4096, 4096}, Case{512, 4096, 512}, Case{8192 + 1024, 4096, 1024}, Case{12288, 4096, 4096},
                    Case{16384, 4096, 4096}, Case{1000, 1, 1}}) {
    Backing blocks(*reactor_, with.size_bytes, aio::ProcessBudget::kBytesDefault,
                   {.request_alignment = with.alignment});
    auto edge = std::make_unique<block::Edge>(blocks.node, block::EdgeParent{.name = "root"}, block::Permissions{});
    const NbdExport offered(names_, {.common = {.id = "blocks"}, .name = "blocks"}, std::move(edge));
    EXPECT_EQ(offered.info().block_sizes.minimum, with.minimum) << with.size_bytes;
    EXPECT_EQ(offered.info().size_bytes % with.minimum, 0u) << with.size_bytes;
  }
}

TASK_TEST_P(ServerTest, TheSameNameCannotBeExportedTwice) {
  co_await start();
  add("disk");
  auto again = NbdExport::check(names_, server_->state().requires_tls(), {.common = {.id = "other"}, .name = "disk"});
  EXPECT_EQ(again.error().message(), "NBD server already has export named 'disk'");
  EXPECT_FALSE(NbdExport::check(names_, server_->state().requires_tls(),
                                {.common = {.id = "long"}, .name = std::string(4097, 'x')}));
}

TASK_TEST_P(ServerTest, MoreClientsThanAllowedWaitForASlot) {
  co_await start({.max_connections = 2});
  add("disk");
  auto one = co_await connect("disk");
  auto two = co_await connect("disk");
  auto waiting = co_await dial();
  co_await pause();
  Bytes byte(1);
  EXPECT_EQ(waiting->try_receive(byte), IoCount(fail(EAGAIN)));
  one->close();
  co_await choose(*waiting, "disk");
  EXPECT_TRUE((co_await chosen(*waiting)).has_value());
}

// Otherwise it would keep its descriptor, and the number of such clients has no limit.
TASK_TEST_P(ServerTest, AClientThatLeavesWhileItWaitsForASlotIsRemovedAtOnce) {
  co_await start({.max_connections = 1});
  add("disk");
  auto waiting = co_await dial();
  const int waiting_fd = dialed_fd_;
  EXPECT_EQ((co_await receive(*waiting, kGreetingBytes)).size(), kGreetingBytes);
  auto client = co_await connect("disk");
  Bytes words = ClientBytes().u32(3).export_name("disk").bytes();
  EXPECT_TRUE(co_await net::send_all(*waiting, words));
  co_await until_read(waiting_fd);
  const std::size_t tasks = count_tasks();
  waiting->shut_down();
  co_await until([&] { return count_tasks() + 2 == tasks; });
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
}

// Both get a greeting while a slot is free; only one gets the slot.
TASK_TEST_P(ServerTest, AClientWhoseExportWasReplacedWhileItWaitedIsTurnedAway) {
  co_await start({.max_connections = 1});
  add("disk");
  auto waiting = co_await dial();
  const int waiting_fd = dialed_fd_;
  EXPECT_EQ((co_await receive(*waiting, kGreetingBytes)).size(), kGreetingBytes);
  auto client = co_await connect("disk");
  Bytes words = ClientBytes().u32(3).export_name("disk").bytes();
  EXPECT_TRUE(co_await net::send_all(*waiting, words));
  co_await until_read(waiting_fd);
  EXPECT_TRUE(co_await registry_->remove("disk", RemoveMode::kHide));
  client->close();
  std::size_t before = deleted_.size();
  NbdExportOptions options{.common = {.id = "second"}, .name = "disk"};
  auto edge = std::make_unique<block::Edge>(backing_->node, block::EdgeParent{.name = "root"}, block::Permissions{});
  auto made = std::make_unique<NbdExport>(names_, options, std::move(edge));
  NbdExport& second = static_cast<NbdExport&>(registry_->add(std::move(made)));
  co_await until([&] { return deleted_.size() > before; });
  Bytes rest = co_await receive(*waiting, 1000);
  EXPECT_LE(rest.size(), 10u);
  EXPECT_EQ(second.client_count(), 0u);
}

TASK_TEST_P(ServerTest, AHandshakeThatTakesTooLongIsCut) {
  co_await start({.handshake_max_seconds = 1});
  add("disk");
  std::uint64_t began_ns = reactor_->now_ns();
  auto silent = co_await dial();
  auto client = co_await connect("disk");
  EXPECT_EQ((co_await receive(*silent, 1000)).size(), kGreetingBytes);
  EXPECT_GE(reactor_->now_ns() - began_ns, 900'000'000u);
  // A client that has chosen an export is not in its handshake any more.
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
}

// Of the connections of one peer, the oldest is dropped.
TASK_TEST_P(ServerTest, OneHandshakeMoreThanAllowedEndsTheOldestAndNoOther) {
  co_await start({.handshakes_max = 3});
  add("disk");
  std::vector<std::unique_ptr<net::Stream>> silent;
  for (int i = 0; i < 3; ++i) {
    silent.push_back(co_await dial());
    EXPECT_EQ((co_await receive(*silent.back(), kGreetingBytes)).size(), kGreetingBytes);
  }
  co_await pause();
  Bytes byte(1);
  for (auto& one : silent) EXPECT_EQ(one->try_receive(byte), IoCount(fail(EAGAIN)));
  auto late = co_await dial();
  EXPECT_EQ((co_await receive(*silent[0], 1)).size(), 0u);
  co_await choose(*late, "disk");
  EXPECT_TRUE((co_await chosen(*late)).has_value());
  for (std::size_t i : {1u, 2u}) EXPECT_EQ(silent[i]->try_receive(byte), IoCount(fail(EAGAIN))) << i;
  // The client has chosen an export and left its handshake: a slot is free again.
  auto next = co_await dial();
  EXPECT_EQ((co_await receive(*next, kGreetingBytes)).size(), kGreetingBytes);
  co_await pause();
  for (std::size_t i : {1u, 2u}) EXPECT_EQ(silent[i]->try_receive(byte), IoCount(fail(EAGAIN))) << i;
}

TASK_TEST_P(ServerTest, NoMoreClientsThanAllowedAreAcceptedInATurn) {
  constexpr std::uint64_t kClients = 3 * kAcceptsPerTurnMax + 1;
  serving_->reset();
  co_await start();
  std::vector<std::unique_ptr<net::Stream>> clients;
  while (clients.size() < kClients) clients.push_back(co_await dial());
  serving_->set();
  std::uint64_t most = 0;
  for (std::uint64_t before = 0; before < kClients;) {
    co_await aio::next_turn();
    most = std::max(most, names_.newest_client() - before);
    before = names_.newest_client();
  }
  EXPECT_EQ(most, kAcceptsPerTurnMax);
}

// Its size equals that of its node to the byte: every byte is accessible, and none beyond.
TASK_TEST_P(ServerTest, AnExportOfAnOddSizeIsExactlyAsLargeAsItsNode) {
  co_await start();
  for (std::size_t size : {1u, 511u, 513u, 10'001u, 12'288u, 12'289u}) {
    SCOPED_TRACE(size);
    backing_->storage.bytes.assign(size, std::byte{'.'});
    const std::string name = "disk" + std::to_string(size);
    add(name);
    auto client = co_await connect(name);
    CO_ASSERT(client != nullptr);
    EXPECT_EQ((co_await client->ask_write(size - 1, bytes_of('x', 1))).error, 0u);
    EXPECT_EQ((co_await client->ask(Command::kRead, size - 1, 1)).data, bytes_of('x', 1));
    EXPECT_EQ((co_await client->ask(Command::kRead, 0, static_cast<std::uint32_t>(size))).data.size(), size);
    const auto no_space = static_cast<std::uint32_t>(NbdError::kNoSpace);
    const auto invalid = static_cast<std::uint32_t>(NbdError::kInvalid);
    EXPECT_EQ((co_await client->ask_write(size, bytes_of('y', 1))).error, no_space);
    EXPECT_EQ((co_await client->ask_write(size - 1, bytes_of('y', 2))).error, no_space);
    EXPECT_EQ((co_await client->ask(Command::kRead, size - 1, 2)).error, invalid);
    EXPECT_EQ(backing_->storage.bytes.size(), size);
    EXPECT_EQ(backing_->storage.bytes.back(), std::byte{'x'});
    client->close();
  }
}

TASK_TEST_P(ServerTest, SilentClientsTakeNoSlot) {
  co_await start({.max_connections = 2});
  add("disk");
  std::vector<std::unique_ptr<net::Stream>> silent;
  for (int i = 0; i < 50; ++i) silent.push_back(co_await dial());
  auto client = co_await connect("disk");
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
}

TASK_TEST_P(ServerTest, StoppingEndsIdleClientsAndHandshakesAndAnswersRunningRequests) {
  co_await start();
  add("disk");
  auto idle = co_await connect("disk");
  auto silent = co_await dial();
  auto busy = co_await connect("disk");
  aio::Event gate(*reactor_);
  backing_->storage.write_gate = &gate;
  backing_->storage.immediate = false;
  (void)co_await busy->write(7, 0, bytes_of('x', 512));
  co_await until([this] { return backing_->storage.waiting == 1; });
  aio::Scope stopping(*reactor_);
  stopping.spawn("stop", stop());
  EXPECT_TRUE((co_await idle->answer()).ended);
  co_await pause();
  EXPECT_EQ(stopping.size(), 1u);
  gate.set();
  Answer answer = co_await busy->answer();
  EXPECT_EQ(answer.cookie, 7u);
  EXPECT_EQ(answer.error, 0u);
  EXPECT_TRUE((co_await busy->answer()).ended);
  EXPECT_LE((co_await receive(*silent, 1000)).size(), kGreetingBytes);
  co_await stopping.join();
  EXPECT_FALSE(co_await net::connect(*reactor_, net::UnixAddress{.path = path()}));
}

TASK_TEST_P(ServerTest, ClientsAreTakenWhenServingBegins) {
  serving_->reset();
  co_await start();
  add("disk");
  auto early = co_await dial();
  co_await pause();
  Bytes byte(1);
  EXPECT_EQ(early->try_receive(byte), IoCount(fail(EAGAIN)));
  serving_->set();
  co_await choose(*early, "disk");
  EXPECT_TRUE((co_await chosen(*early)).has_value());
}

TASK_TEST_P(ServerTest, ANewClientWaitsForTheWritesOfALostOne) {
  co_await start();
  add("disk");
  auto lost = co_await connect("disk");
  aio::Event gate(*reactor_);
  backing_->storage.write_gate = &gate;
  backing_->storage.immediate = false;
  (void)co_await lost->write(1, 0, bytes_of('a', 512));
  co_await until([this] { return backing_->storage.waiting == 1; });
  lost->close();
  auto next = co_await connect("disk");
  backing_->storage.immediate = true;
  (void)co_await next->write(2, 0, bytes_of('b', 512));
  co_await pause();
  EXPECT_EQ(backing_->storage.bytes[0], std::byte{0});
  gate.set();
  EXPECT_EQ((co_await next->answer()).cookie, 2u);
  EXPECT_EQ((co_await next->ask(Command::kRead, 0, 512)).data, bytes_of('b', 512));
}

TASK_TEST_P(ServerTest, AcceptingPausesWithoutADescriptorForAClient) {
  co_await start();
  std::optional<aio::testing::DescriptorLimit> limit(1);  // for the client's own descriptor
  const std::uint64_t began_ns = reactor_->now_ns();
  auto stream = co_await dial();
  co_await pause();
  limit.reset();
  EXPECT_EQ((co_await receive(*stream, kGreetingBytes)).size(), kGreetingBytes);
  EXPECT_GE(reactor_->now_ns() - began_ns, 100'000'000u);
}

TASK_TEST_P(ServerTest, FinishedClientsAreDisconnectedAndTheirExportStays) {
  co_await start();
  NbdExport& one = add("disk");
  auto client = co_await connect("disk");
  auto silent = co_await dial();
  EXPECT_EQ((co_await receive(*silent, kGreetingBytes)).size(), kGreetingBytes);
  EXPECT_EQ((co_await client->ask_write(0, bytes_of('x', 512))).error, 0u);
  co_await server_->stop_listening();
  co_await server_->finish_clients();
  EXPECT_TRUE((co_await client->answer()).ended);
  EXPECT_TRUE((co_await receive(*silent, 1)).empty());
  EXPECT_EQ(one.client_count(), 0u);
  EXPECT_FALSE(one.shutting_down());
  EXPECT_TRUE(names_.contains("disk"));
}

TASK_TEST_P(ServerTest, AClosedListenerTakesNoMoreClientsAndItsClientsStay) {
  co_await start();
  add("disk");
  auto client = co_await connect("disk");
  server_->close_listener(*server_->listeners().front());
  EXPECT_TRUE(server_->listeners().empty());
  co_await until([this] { return access(path().c_str(), F_OK) != 0; });
  EXPECT_FALSE((co_await net::connect(*reactor_, net::UnixAddress{.path = path()})).has_value());
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).error, 0u);
}

TASK_TEST_P(ServerTest, AnExportOutsideOfTheViewIsAnUnknownExport) {
  co_await start({.view = {.patterns = {{"public*"}}}});
  add("public1");
  add("disk");
  EXPECT_EQ(co_await connect("disk"), nullptr);
  EXPECT_NE(co_await connect("public1"), nullptr);
}

TASK_TEST_P(ServerTest, AReadOnlyServerRefusesWritesToAWritableExport) {
  co_await start({.view = {.read_only = true}});
  add("disk");
  auto client = co_await connect("disk");
  EXPECT_EQ((co_await client->ask_write(0, bytes_of('x', 512))).error,
            static_cast<std::uint32_t>(NbdError::kNotPermitted));
  EXPECT_EQ((co_await client->ask(Command::kTrim, 0, 512)).error, static_cast<std::uint32_t>(NbdError::kNotPermitted));
  EXPECT_EQ((co_await client->ask(Command::kRead, 0, 512)).data, bytes_of('\0', 512));
}

TASK_TEST_P(ServerTest, AChangeReachesWaitingClientsAndLeavesOthersAlone) {
  co_await start({.max_connections = 1, .handshake_max_seconds = 0});
  add("disk");
  auto client = co_await connect("disk");
  auto waiting = co_await dial();
  co_await pause();
  Bytes byte(1);
  EXPECT_EQ(waiting->try_receive(byte), IoCount(fail(EAGAIN)));
  server_->change({.max_connections = 2, .handshake_max_seconds = 0, .view = {.patterns = {{"other"}}}});
  // The client that waited for a slot gets its greeting, and no export of the former view.
  co_await choose(*waiting, "disk");
  EXPECT_FALSE((co_await chosen(*waiting)).has_value());
  EXPECT_EQ((co_await client->ask_write(0, bytes_of('x', 512))).error, 0u);
}

TASK_TEST_P(ServerTest, AShorterTimeLimitEndsHandshakesThatRun) {
  co_await start({.handshake_max_seconds = 0});
  auto silent = co_await dial();
  EXPECT_EQ((co_await receive(*silent, kGreetingBytes)).size(), kGreetingBytes);
  server_->change({.handshake_max_seconds = 1});
  EXPECT_TRUE((co_await receive(*silent, 1)).empty());
}

TASK_TEST_P(ServerTest, HandshakesWithoutTlsEndWhenTlsBecomesRequired) {
  co_await start();
  add("disk");
  auto silent = co_await dial();
  EXPECT_EQ((co_await receive(*silent, kGreetingBytes)).size(), kGreetingBytes);
  server_->change({.tls = ServerTls{.credentials_id = "t"}});
  EXPECT_TRUE((co_await receive(*silent, 1)).empty());
}

}  // namespace
}  // namespace blockexport::nbd::testing
