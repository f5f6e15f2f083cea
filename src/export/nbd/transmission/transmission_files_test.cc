// Transmission: large reads that are sent straight from a file, on every backend: order, faults, slow clients, and
// their effect on others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aio/file/open_file.h"
#include "aio/task/current.h"
#include "aio/testing/task_test.h"
#include "export/nbd/testing/transmission_test_base.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::size_t kLargeBytes = 256u << 10;
constexpr std::size_t kFileBytes = 1u << 20;

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('A' + (i ^ i >> 9) % 57);
  return text;
}

class TransmissionFilesTest : public TransmissionTest {
 protected:
  template <class Test>
  Task<void> body();

  // The storage's own bytes are zeros, to distinguish them from bytes of the file.
  void SetUp() override {
    TransmissionTest::SetUp();
    if (IsSkipped()) return;
    path_ = make_file(content_);
    run(open_file());
    ASSERT_NE(storage().file, nullptr);
    file_ = storage().file;
    bool cached = false;
    for (int i = 0; i < 100 && !cached; ++i) cached = reactor().is_cached(storage().file->fd(), 0, kFileBytes);
    if (!cached) GTEST_SKIP() << "the kernel does not report cached pages";
    log_fd_ = memfd_create("log", MFD_CLOEXEC);
    log_.emplace("test", log_fd_, LogLevel::kWarning);
    peer_log_.emplace(*log_, "peer");
    backing().log = &*peer_log_;
  }
  void TearDown() override {
    TransmissionTest::TearDown();
    if (log_fd_ >= 0) close(log_fd_);
  }

  Task<void> open_file() {
    auto fd = co_await reactor().open(path_.c_str(), O_RDWR);
    if (fd) storage().file = std::make_shared<aio::OpenFile>(reactor(), *fd);
  }
  Bytes expected(std::uint64_t offset, std::uint64_t length) const {
    auto bytes = std::as_bytes(std::span(content_)).subspan(offset, length);
    return {bytes.begin(), bytes.end()};
  }
  // The simulation evicts pages at random; then the storage, which holds zeros, serves the read or a part of it.
  bool is_right(const Answer& answer, std::uint64_t offset, std::uint64_t length) const {
    if (answer.error != 0 || answer.ended || answer.malformed) return false;
    const Bytes in_file = expected(offset, length);
    if (!simulated()) return answer.data == in_file;
    return std::ranges::equal(answer.data, in_file,
                              [](std::byte got, std::byte filed) { return got == filed || got == std::byte{0}; });
  }
  // A client that has sent `count` large READs, and reads nothing until the server has stopped sending.
  Task<std::unique_ptr<Session>> stalled(std::uint64_t count, std::uint64_t length = kFileBytes) {
    auto session = connect();
    for (std::uint64_t cookie = 0; cookie < count; ++cookie) {
      (void)co_await session->client.request(Command::kRead, cookie, 0, length);
    }
    co_await settle();
    EXPECT_GT(file_.use_count(), 1) << "no reply waits";
    co_return session;
  }
  Task<void> settle() {
    for (int i = 0; i < 50; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 100'000);
  }
  std::string logged() const {
    std::string text(4096, '\0');
    ssize_t count = pread(log_fd_, text.data(), text.size(), 0);
    text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return text;
  }

  std::string content_ = pattern(kFileBytes);
  std::string path_;
  std::weak_ptr<const aio::OpenFile> file_;

 private:
  int log_fd_ = -1;
  std::optional<Log> log_;
  std::optional<PeerLog> peer_log_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(TransmissionFilesTest);

TASK_TEST_P(TransmissionFilesTest, ALargeReadReturnsTheContentOfTheFile) {
  for (HeaderMode mode : kAllModes) {
    auto session = connect(mode);
    std::size_t from_file = 0;
    for (std::uint64_t i = 0; i < 20; ++i) {
      Answer answer = co_await session->client.ask(Command::kRead, i * 4096, kLargeBytes + i * 1000);
      EXPECT_TRUE(is_right(answer, i * 4096, kLargeBytes + i * 1000)) << i;
      from_file += std::ranges::any_of(answer.data, [](std::byte one) { return one != std::byte{0}; });
    }
    EXPECT_GE(from_file, simulated() ? 5u : 20u);
    co_await session->end();
  }
}

TASK_TEST_P(TransmissionFilesTest, ASmallReadIsCopied) {
  auto session = connect();
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, kLargeBytes - 1)).data, Bytes(kLargeBytes - 1));
  co_await session->end();
}

TASK_TEST_P(TransmissionFilesTest, RequestsOfEverySizeAtOnceAreAllAnswered) {
  auto session = connect(HeaderMode::kExtended);
  std::map<std::uint64_t, std::uint64_t> lengths;
  for (std::uint64_t cookie = 1; cookie <= 60; ++cookie) {
    lengths[cookie] = cookie % 3 == 0 ? 512 : kLargeBytes * (1 + cookie % 4);
    (void)co_await session->client.request(Command::kRead, cookie, 0, lengths[cookie]);
  }
  while (!lengths.empty()) {
    Answer answer = co_await session->client.answer();
    auto asked = lengths.extract(answer.cookie);
    CO_ASSERT(!asked.empty());
    bool small = asked.mapped() == 512;
    EXPECT_TRUE(small ? answer.data == Bytes(512) : is_right(answer, 0, asked.mapped())) << answer.cookie;
  }
  co_await session->end();
}

TASK_TEST_P(TransmissionFilesTest, RepliesThatWaitAreBoundedInNumberAndTakeNoMemory) {
  constexpr std::uint64_t kRequests = exports::kRequestsInFlightMax + 100;
  auto session = connect();
  Bytes requests;
  for (std::uint64_t cookie = 0; cookie < kRequests; ++cookie) {
    Bytes one = session->client.codec().request(Command::kRead, cookie, 0, kLargeBytes);
    requests.insert(requests.end(), one.begin(), one.end());
  }
  (void)co_await session->client.send(std::move(requests));
  co_await settle();
  // Copies take memory when the simulation evicts pages of its page cache.
  if (!simulated()) EXPECT_LE(backing().budget.used_bytes(), ReplyQueue::kSharedBufferBytes);
  EXPECT_LE(file_.use_count(), 1 + static_cast<long>(exports::kRequestsInFlightMax));
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    Answer answer = co_await session->client.answer();
    CO_ASSERT(answer.error == 0 && answer.data.size() == kLargeBytes);
    // Comparing every byte of all replies would take long.
    if (i % 20 == 0) CO_ASSERT(is_right(answer, 0, kLargeBytes));
  }
  co_await session->end();
}

TASK_TEST_P(TransmissionFilesTest, AClientThatStopsReadingDelaysNoChangeOfTheGraph) {
  auto session = co_await stalled(40);
  co_await backing().edge.quiesce();
  // The node gets another file; the old one stays open until the replies are sent.
  storage().file.reset();
  backing().edge.resume();
  EXPECT_FALSE(file_.expired());
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(is_right(co_await session->client.answer(), 0, kFileBytes)) << i;
  co_await session->end();
  EXPECT_TRUE(file_.expired());
}

TASK_TEST_P(TransmissionFilesTest, AClientThatStopsReadingHarmsNoOther) {
  auto session = co_await stalled(40);
  auto good = connect();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(is_right(co_await good->client.ask(Command::kRead, 0, kFileBytes), 0, kFileBytes));
  }
  co_await good->end();
  co_await session->end();
}

TASK_TEST_P(TransmissionFilesTest, ADroppedClientInTheMiddleOfAFileEndsAtOnce) {
  auto session = co_await stalled(40);
  std::uint64_t began_ns = reactor().now_ns();
  session->transmission.drop();
  co_await session->ended();
  EXPECT_LT(reactor().now_ns() - began_ns, kCloseGraceNs);
  storage().file.reset();
  EXPECT_TRUE(file_.expired());
}

TASK_TEST_P(TransmissionFilesTest, AFinishedClientStillGetsWaitingReplies) {
  auto session = co_await stalled(20);
  session->transmission.finish();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(is_right(co_await session->client.answer(), 0, kFileBytes)) << i;
  EXPECT_TRUE((co_await session->client.answer()).ended);
  co_await session->ended();
}

TASK_TEST_P(TransmissionFilesTest, ARefusedClientGetsWaitingRepliesAndThenErrors) {
  auto session = co_await stalled(20);
  session->transmission.refuse();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(is_right(co_await session->client.answer(), 0, kFileBytes)) << i;
  EXPECT_EQ((co_await session->client.ask(Command::kRead, 0, kFileBytes)).error,
            static_cast<std::uint32_t>(NbdError::kShutdown));
  co_await session->end();
}

TASK_TEST_P(TransmissionFilesTest, TheGraceEndsAFinishedClientThatStoppedReading) {
  if (!simulated()) CO_SKIP("takes the grace time");
  auto session = co_await stalled(20);
  std::uint64_t began_ns = reactor().now_ns();
  session->transmission.finish();
  co_await session->ended();
  EXPECT_GE(reactor().now_ns() - began_ns, kCloseGraceNs);
  EXPECT_EQ(logged(), "");
}

TASK_TEST_P(TransmissionFilesTest, TruncatingAFileDuringAReplyDisconnectsTheClientWithOneLogLine) {
  auto session = co_await stalled(40);
  EXPECT_TRUE(co_await reactor().truncate(storage().file->fd(), kLargeBytes));
  // The driver's error for a read of bytes that the truncated file has lost.
  storage().error = EIO;
  Answer answer;
  std::size_t whole = 0;
  while (!(answer = co_await session->client.answer()).ended) ++whole;
  EXPECT_LT(whole, 40u);
  co_await session->ended();
  EXPECT_NE(logged().find("; its client is disconnected\n"), std::string::npos) << logged();
  EXPECT_EQ(std::ranges::count(logged(), '\n'), 1);
  storage().error = 0;
  // Other clients are served.
  auto good = connect();
  EXPECT_EQ((co_await good->client.ask(Command::kRead, 0, 512)).error, 0u);
  co_await good->end();
}

// The order of events in the simulation, and the pages that it evicts, follow from a seed.
class SimulatedFilesTest : public ::testing::TestWithParam<std::uint64_t> {};

struct SeededRun {
  explicit SeededRun(std::uint64_t seed)
      : simulation({.seed = seed, .short_transfers = true, .streams = {.buffer_bytes = 40'000, .any_length = true}}) {
    simulation.write_file("file", std::as_bytes(std::span(content)));
  }
  std::string content = pattern(kFileBytes);
  aio::Simulation simulation;
  std::unique_ptr<aio::Reactor> reactor = simulation.make_reactor();
  Backing backing{*reactor};
};

Task<void> open_in(SeededRun& at) {
  auto fd = co_await at.reactor->open("file", O_RDONLY);
  CO_ASSERT(fd);
  at.backing.storage.file = std::make_shared<aio::OpenFile>(*at.reactor, *fd);
  auto bytes = std::as_bytes(std::span(at.content));
  at.backing.storage.bytes.assign(bytes.begin(), bytes.end());
}

Task<void> read_all(SeededRun& at, int reads) {
  co_await open_in(at);
  Session session(at.backing, at.simulation.socket_pair(), make_state(HeaderMode::kStructured, kFileBytes));
  for (int i = 0; i < reads; ++i) {
    (void)co_await session.client.request(Command::kRead, static_cast<std::uint64_t>(i), 4096, 300'000);
  }
  auto expected = std::as_bytes(std::span(at.content)).subspan(4096, 300'000);
  for (int i = 0; i < reads; ++i) {
    Answer answer = co_await session.client.answer();
    CO_ASSERT(std::ranges::equal(answer.data, expected));
  }
  co_await session.end();
}

TEST_P(SimulatedFilesTest, ShortSendsAndColdPagesLoseNoByte) {
  SeededRun at(GetParam());
  aio::testing::run(*at.reactor, read_all(at, 6));
  EXPECT_EQ(at.backing.budget.used_bytes(), 0u);
}

// The client ends, or the disk fails, at a step that the seed chooses.
Task<void> read_until_broken(SeededRun& at, bool disk_fails) {
  co_await open_in(at);
  auto sockets = at.simulation.socket_pair();
  Session session(at.backing, sockets, make_state(HeaderMode::kStructured, kFileBytes));
  for (std::uint64_t cookie = 0; cookie < 6; ++cookie) {
    (void)co_await session.client.request(Command::kRead, cookie, 0, 300'000);
  }
  std::uint64_t steps = at.simulation.random().below(40);
  for (std::uint64_t i = 0; i < steps; ++i) co_await aio::next_turn();
  if (disk_fails) {
    // The page cache is empty now, and the node cannot read the data.
    at.simulation.inject({.kind = aio::OperationKind::kRead, .error = EIO, .count = 1000});
    at.backing.storage.error = EIO;
  } else {
    at.simulation.reset_connection(sockets.first);
  }
  auto expected = std::as_bytes(std::span(at.content)).first(300'000);
  Answer answer;
  for (int i = 0; i < 6 && !answer.ended; ++i) {
    answer = co_await session.client.answer();
    bool right = answer.ended || answer.error != 0 || std::ranges::equal(answer.data, expected);
    EXPECT_TRUE(right && !answer.malformed) << i;
  }
  co_await session.end();
}

TEST_P(SimulatedFilesTest, ALostClientLeavesNoReplyOrMemoryBehind) {
  SeededRun at(GetParam());
  aio::testing::run(*at.reactor, read_until_broken(at, false));
  EXPECT_EQ(at.backing.budget.used_bytes(), 0u);
  EXPECT_EQ(at.backing.storage.file.use_count(), 1);
}

TEST_P(SimulatedFilesTest, AFailingDiskCausesNoWrongReply) {
  SeededRun at(GetParam());
  aio::testing::run(*at.reactor, read_until_broken(at, true));
  EXPECT_EQ(at.backing.budget.used_bytes(), 0u);
  EXPECT_EQ(at.backing.storage.file.use_count(), 1);
}

constexpr std::uint64_t kColdReads = 6;
constexpr std::uint64_t kColdReadBytes = 300'000;

Task<void> take_answers(Session& session, std::vector<Answer>& answers) {
  for (std::uint64_t i = 0; i < kColdReads; ++i) answers.push_back(co_await session.client.answer());
}

// The pages of waiting replies are evicted from the page cache, and the node has other content by then.
Task<void> read_what_left_the_page_cache(SeededRun& at) {
  co_await open_in(at);
  Session session(at.backing, at.simulation.socket_pair(), make_state(HeaderMode::kSimple, kFileBytes));
  for (std::uint64_t cookie = 0; cookie < kColdReads; ++cookie) {
    (void)co_await session.client.request(Command::kRead, cookie, 4096, kColdReadBytes);
  }
  co_await aio::testing::until(*at.reactor,
                               [&at] { return at.backing.node.statistics().read.operations() >= kColdReads; });
  const std::size_t reads_before = at.backing.storage.calls.size();
  at.simulation.inject({.kind = aio::OperationKind::kRead, .error = EIO, .count = UINT32_MAX});
  std::ranges::fill(at.backing.storage.bytes, std::byte{'n'});
  co_await at.backing.edge.quiesce();
  std::vector<Answer> answers;
  aio::Scope client(*at.reactor);
  client.spawn("client", take_answers(session, answers));
  (void)co_await at.reactor->sleep_until(at.reactor->now_ns() + 50'000'000);
  EXPECT_EQ(at.backing.storage.calls.size(), reads_before) << "the gate is closed";
  EXPECT_LT(answers.size(), kColdReads);
  at.backing.edge.resume();
  co_await client.join();
  EXPECT_GT(at.backing.storage.calls.size(), reads_before);
  for (const Answer& answer : answers) EXPECT_EQ(answer.data.size(), kColdReadBytes);
  EXPECT_TRUE(std::ranges::any_of(answers, [](const Answer& one) { return one.data.back() == std::byte{'n'}; }));
  // Each read was counted once, whichever way its data were read.
  EXPECT_EQ(at.backing.node.statistics().read.operations(), kColdReads);
  EXPECT_EQ(at.backing.node.statistics().read.bytes(), kColdReads * kColdReadBytes);
  EXPECT_EQ(at.backing.node.statistics().read.failed(), 0u);
  co_await session.end();
}

TEST_P(SimulatedFilesTest, EvictedPagesAreReadThroughTheNodeInsideTheGate) {
  SeededRun at(GetParam());
  aio::testing::run(*at.reactor, read_what_left_the_page_cache(at));
  EXPECT_EQ(at.backing.budget.used_bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SimulatedFilesTest, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace blockexport::nbd::testing
