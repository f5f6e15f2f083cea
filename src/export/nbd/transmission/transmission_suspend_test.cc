// Transmission: sessions that are suspended between two requests and continue in another transmission over the same
// socket. At every boundary of a recorded session, the client gets the same replies as without the suspension.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "aio/file/open_file.h"
#include "aio/testing/task_test.h"
#include "export/nbd/testing/scripted_stream.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/suspended_session.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

// Reads use the first half of the disk, and all changes the second half, so that the order in which requests end does
// not matter.
constexpr std::size_t kDiskBytes = 2u << 20;
constexpr std::uint64_t kHalf = kDiskBytes / 2;

// The server's side of a connection: successive transmissions over the same socket.
class Succession {
 public:
  Succession(Backing& backing, int fd, SessionState state) : backing_(backing), scope_(backing.reactor) {
    begin({.state = std::move(state), .unread = {}, .unsent = {}}, fd);
  }

  // Suspends the session, serialises it, and continues with another transmission; false when it has ended otherwise.
  Task<bool> hand_over() {
    if (!transmission_->suspend()) co_return false;
    co_await scope_.join();
    auto suspended = transmission_->take_suspended();
    if (!suspended) co_return false;
    // The old transmission has released everything.
    transmission_.reset();
    auto restored = deserialize_session(serialize(suspended->session));
    if (!restored || *restored != suspended->session) {
      ADD_FAILURE() << "not the same session";
      co_return false;
    }
    begin(*std::move(restored), suspended->fd);
    co_return true;
  }
  Task<void> ended() { co_await scope_.join(); }
  Transmission& transmission() { return *transmission_; }

 private:
  void begin(SuspendedSession session, int fd) {
    transmission_.emplace(backing_.context(), std::make_unique<net::SocketStream>(backing_.reactor, fd),
                          std::move(session.state), session.unread);
    transmission_->restore(session.unsent);
    scope_.spawn("transmission", serve(*transmission_));
  }
  static Task<void> serve(Transmission& served) {
    co_await served.run();
    served.close();
  }

  Backing& backing_;
  std::optional<Transmission> transmission_;
  aio::Scope scope_;
};

// The encoded requests of a session.
class Recording {
 public:
  explicit Recording(ClientCodec& codec, HeaderMode mode) {
    requests_.push_back(codec.request(Command::kRead, 1, 0, 512));
    requests_.push_back(codec.write(2, kHalf, bytes_of('a', 4096)));
    requests_.push_back(codec.write(3, kHalf + 4096, bytes_of('b', 100u << 10)));
    requests_.push_back(codec.request(Command::kRead, 4, 4096, 300u << 10));
    requests_.push_back(codec.request(Command::kWriteZeroes, 5, kHalf + (200u << 10), 8192));
    requests_.push_back(codec.request(Command::kTrim, 6, kHalf + (300u << 10), 8192));
    requests_.push_back(codec.request(Command::kFlush, 7, 0, 0));
    if (mode != HeaderMode::kSimple) requests_.push_back(codec.request(Command::kBlockStatus, 8, 0, 64u << 10));
    requests_.push_back(codec.request(Command::kRead, 9, kDiskBytes, 512));
    requests_.push_back(codec.request(Command::kCache, 10, 0, 4096));
    requests_.push_back(codec.write(11, kHalf + (400u << 10), bytes_of('c', 512)));
    requests_.push_back(codec.write(12, kHalf + (400u << 10) + 512, bytes_of('d', 512)));
    // The payload of this request is skipped.
    requests_.push_back(codec.write(13, kDiskBytes - 512, bytes_of('e', 70u << 10)));
    requests_.push_back(codec.request(Command::kRead, 14, 0, kHalf));
    requests_.push_back(codec.write(15, kHalf + (500u << 10), bytes_of('f', 300u << 10)));
    requests_.push_back(codec.request(Command::kRead, 16, 512, 512));
  }
  std::size_t size() const { return requests_.size(); }
  std::size_t bytes_of_request(std::size_t index) const { return requests_[index].size(); }
  // The bytes before request `first`, and those from there on.
  std::pair<Bytes, Bytes> cut_before(std::size_t first) const {
    std::pair<Bytes, Bytes> parts;
    for (std::size_t i = 0; i < size(); ++i) {
      Bytes& part = i < first ? parts.first : parts.second;
      part.insert(part.end(), requests_[i].begin(), requests_[i].end());
    }
    return parts;
  }

 private:
  std::vector<Bytes> requests_;
};

using Answers = std::map<std::uint64_t, Answer>;

class TransmissionSuspendTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  void SetUp() override {
    ForEachBackend::SetUp();
    if (!IsSkipped()) backing_.emplace(reactor(), kDiskBytes);
  }
  void TearDown() override {
    if (!backing_) return;
    EXPECT_EQ(backing_->budget.used_bytes(), 0u);
    EXPECT_FALSE(backing_->fence.is_up());
  }
  Backing& backing() { return *backing_; }
  StorageState& storage() { return backing_->storage; }

  // New content, the same each time, with holes.
  void fill() {
    for (std::size_t i = 0; i < kDiskBytes; ++i) {
      storage().bytes[i] = i < kHalf && i / 8192 % 3 != 0 ? static_cast<std::byte>(1 + i / 512 % 251) : std::byte{0};
    }
  }
  Task<void> settle(int times = 3) {
    for (int i = 0; i < times; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  }
  static Task<void> hand_over(Succession& server, bool& done) { done = co_await server.hand_over(); }

  // The replies to all requests, when the session is suspended after the request before `boundary`, and `ahead_bytes`
  // of the following requests were sent by then. The client reads nothing before that.
  Task<Answers> run_with_a_hand_over(HeaderMode mode, std::size_t boundary, std::size_t ahead_bytes) {
    fill();
    auto sockets = make_socket_pair();
    Succession server(backing(), sockets.first, make_state(mode, kDiskBytes));
    Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), mode);
    Recording recording(client.codec(), mode);
    auto [before, after] = recording.cut_before(boundary);
    const auto ahead = static_cast<std::ptrdiff_t>(std::min(ahead_bytes, after.size()));
    before.insert(before.end(), after.begin(), after.begin() + ahead);
    after.erase(after.begin(), after.begin() + ahead);
    aio::Scope tasks(reactor());
    tasks.spawn("client", send(client, std::move(before)));
    co_await settle();
    bool handed_over = false;
    aio::Scope handing(reactor());
    handing.spawn("hand over", hand_over(server, handed_over));
    co_await settle();
    co_await tasks.join();
    tasks.spawn("client", send(client, std::move(after)));
    Answers answers;
    for (std::size_t i = 0; i < recording.size(); ++i) {
      Answer answer = co_await client.answer();
      EXPECT_FALSE(answer.ended || answer.malformed);
      if (answer.ended) break;
      answers.emplace(answer.cookie, std::move(answer));
    }
    co_await tasks.join();
    co_await handing.join();
    EXPECT_TRUE(handed_over);
    client.close();
    co_await server.ended();
    co_return answers;
  }
  static Task<void> send(Client& client, Bytes bytes) { EXPECT_TRUE(co_await client.send(std::move(bytes))); }

  // The replies without a suspension.
  Task<Answers> run_undisturbed(HeaderMode mode) {
    fill();
    auto sockets = make_socket_pair();
    Succession server(backing(), sockets.first, make_state(mode, kDiskBytes));
    Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), mode);
    Recording recording(client.codec(), mode);
    aio::Scope tasks(reactor());
    tasks.spawn("client", send(client, recording.cut_before(recording.size()).first));
    Answers answers;
    for (std::size_t i = 0; i < recording.size(); ++i) {
      Answer answer = co_await client.answer();
      answers.emplace(answer.cookie, std::move(answer));
    }
    co_await tasks.join();
    client.close();
    co_await server.ended();
    co_return answers;
  }
  // At every boundary, with nothing sent ahead, with a part of the next request, and with all following requests.
  Task<void> check_every_boundary(HeaderMode mode) {
    const Answers expected = co_await run_undisturbed(mode);
    const std::vector<std::byte> content = storage().bytes;
    ClientCodec codec(mode);
    const Recording recording(codec, mode);
    EXPECT_EQ(expected.size(), recording.size());
    for (std::size_t boundary = 0; boundary <= recording.size(); ++boundary) {
      const std::size_t next_bytes = boundary < recording.size() ? recording.bytes_of_request(boundary) : 0;
      for (std::size_t ahead : {std::size_t{0}, std::size_t{20}, next_bytes / 2, kDiskBytes}) {
        const Answers answers = co_await run_with_a_hand_over(mode, boundary, ahead);
        EXPECT_EQ(answers, expected) << "boundary " << boundary << ", ahead " << ahead;
        EXPECT_EQ(storage().bytes, content) << "boundary " << boundary << ", ahead " << ahead;
        if (HasFailure()) co_return;
      }
    }
  }
  // The same while each request takes a random time.
  Task<void> check_with_slow_storage(HeaderMode mode) {
    if (!simulated()) CO_SKIP("the delays are the simulation's");
    aio::Random random(17);
    storage().immediate = false;
    storage().delays = &random;
    co_await check_every_boundary(mode);
    storage().delays = nullptr;
  }

 private:
  std::optional<Backing> backing_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionSuspendTest);

TASK_TEST_P(TransmissionSuspendTest, SimpleRepliesAreTheSameAtAnyBoundary) {
  co_await check_every_boundary(HeaderMode::kSimple);
}
TASK_TEST_P(TransmissionSuspendTest, StructuredRepliesAreTheSameAtAnyBoundary) {
  co_await check_every_boundary(HeaderMode::kStructured);
}
TASK_TEST_P(TransmissionSuspendTest, ExtendedRepliesAreTheSameAtAnyBoundary) {
  co_await check_every_boundary(HeaderMode::kExtended);
}

TASK_TEST_P(TransmissionSuspendTest, SimpleRepliesAreTheSameWhileRequestsWaitForStorage) {
  co_await check_with_slow_storage(HeaderMode::kSimple);
}
TASK_TEST_P(TransmissionSuspendTest, StructuredRepliesAreTheSameWhileRequestsWaitForStorage) {
  co_await check_with_slow_storage(HeaderMode::kStructured);
}
TASK_TEST_P(TransmissionSuspendTest, ExtendedRepliesAreTheSameWhileRequestsWaitForStorage) {
  co_await check_with_slow_storage(HeaderMode::kExtended);
}

TASK_TEST_P(TransmissionSuspendTest, ASessionIsHandedOverAgainAndAgain) {
  fill();
  auto sockets = make_socket_pair();
  Succession server(backing(), sockets.first, make_state(HeaderMode::kStructured, kDiskBytes));
  Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), HeaderMode::kStructured);
  for (std::uint64_t i = 0; i < 50; ++i) {
    const Bytes data = bytes_of(static_cast<char>('a' + i % 26), 4096);
    EXPECT_EQ((co_await client.ask_write(kHalf + i * 4096, data)).error, 0u);
    EXPECT_TRUE(co_await server.hand_over());
    EXPECT_EQ((co_await client.ask(Command::kRead, kHalf + i * 4096, 4096)).data, data);
  }
  client.close();
  co_await server.ended();
}

// Replies that are sent from a file, and one that is read piece by piece because other clients hold the memory.
TASK_TEST_P(TransmissionSuspendTest, RepliesWithDataInTheNodeAreHandedOver) {
  fill();
  const std::string content(reinterpret_cast<const char*>(storage().bytes.data()), kDiskBytes);
  const std::string path = make_file(content);
  auto fd = co_await reactor().open(path.c_str(), O_RDWR);
  CO_ASSERT(fd);
  storage().file = std::make_shared<aio::OpenFile>(reactor(), *fd);
  auto sockets = make_socket_pair();
  Succession server(backing(), sockets.first, make_state(HeaderMode::kSimple, kDiskBytes));
  Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), HeaderMode::kSimple);
  constexpr std::uint64_t kReads = 12;
  for (std::uint64_t cookie = 0; cookie < kReads; ++cookie) {
    (void)co_await client.request(Command::kRead, cookie, cookie * 512, kHalf);
  }
  co_await settle();
  for (std::uint64_t i = 0; i < kReads; ++i) {
    EXPECT_TRUE(co_await server.hand_over());
    const Answer answer = co_await client.answer();
    CO_ASSERT(!answer.ended);
    const auto begin = storage().bytes.begin() + static_cast<std::ptrdiff_t>(answer.cookie * 512);
    EXPECT_TRUE(std::equal(answer.data.begin(), answer.data.end(), begin, begin + kHalf));
  }
  client.close();
  co_await server.ended();
  storage().file.reset();
}

TASK_TEST_P(TransmissionSuspendTest, AnArrivingLargeWriteIsCompletedFirst) {
  auto sockets = make_socket_pair();
  Succession server(backing(), sockets.first, make_state(HeaderMode::kSimple, kDiskBytes));
  Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), HeaderMode::kSimple);
  Bytes write = client.codec().write(1, 0, bytes_of('w', 300u << 10));
  const Bytes rest(write.begin() + (100 << 10), write.end());
  write.resize(100u << 10);
  (void)co_await client.send(write);
  co_await settle();
  bool handed_over = false;
  aio::Scope handing(reactor());
  handing.spawn("hand over", hand_over(server, handed_over));
  co_await settle(20);
  EXPECT_FALSE(handed_over);
  (void)co_await client.send(rest);
  co_await handing.join();
  EXPECT_TRUE(handed_over);
  EXPECT_EQ((co_await client.answer()).error, 0u);
  EXPECT_EQ((co_await client.ask(Command::kRead, 0, 512)).data, bytes_of('w', 512));
  client.close();
  co_await server.ended();
}

TASK_TEST_P(TransmissionSuspendTest, ASessionThatEndedHasNothingToHandOver) {
  for (bool is_removed : {false, true}) {
    auto sockets = make_socket_pair();
    Succession server(backing(), sockets.first, make_state(HeaderMode::kSimple, kDiskBytes));
    Client client(std::make_unique<net::SocketStream>(reactor(), sockets.second), HeaderMode::kSimple);
    Bytes write = client.codec().write(1, 0, bytes_of('w', 300u << 10));
    write.resize(100u << 10);
    (void)co_await client.send(write);
    co_await settle();
    bool handed_over = true;
    aio::Scope handing(reactor());
    handing.spawn("hand over", hand_over(server, handed_over));
    co_await settle();
    if (is_removed) server.transmission().drop();
    client.close();
    co_await handing.join();
    EXPECT_FALSE(handed_over);
    co_await server.ended();
  }
}

TASK_TEST_P(TransmissionSuspendTest, ATlsConnectionIsNotSuspended) {
  StreamScript script{.ends = false};
  ClientCodec codec(HeaderMode::kSimple);
  script.input.push_back(codec.request(Command::kRead, 1, 0, 512));
  Transmission transmission(backing().context(), std::make_unique<ScriptedStream>(reactor(), script),
                            make_state(HeaderMode::kSimple, kDiskBytes), {});
  EXPECT_FALSE(transmission.suspend());
  aio::Scope scope(reactor());
  scope.spawn("transmission", transmission.run());
  co_await aio::testing::until(reactor(), [&script] { return script.output.size() == kSimpleReplyBytes + 512; });
  transmission.drop();
  co_await scope.join();
  EXPECT_FALSE(transmission.take_suspended());
}

}  // namespace
}  // namespace blockexport::nbd::testing
