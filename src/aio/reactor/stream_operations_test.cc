#include <gtest/gtest.h>
#include <poll.h>

#include <string>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class StreamOperationsTest : public testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    auto [first, second] = make_socket_pair();
    one = first;
    other = second;
  }
  void TearDown() override {
    if (IsSkipped()) return;
    if (one >= 0) reactor().close_now(one);
    if (other >= 0) reactor().close_now(other);
  }
  int one = -1;
  int other = -1;
};
BLOCKEXPORT_FOR_EACH_BACKEND(StreamOperationsTest);

Task<void> send_all(Reactor& reactor, int fd, std::string data, bool& ended) {
  std::size_t sent = 0;
  while (sent < data.size()) {
    iovec vector{data.data() + sent, data.size() - sent};
    IoCount count = reactor.try_send(fd, std::span(&vector, 1));
    if (count) {
      sent += *count;
    } else if (count.error() != Errno(EAGAIN) || !co_await reactor.poll(fd, POLLOUT)) {
      co_return;
    }
  }
  ended = true;
}

Task<void> receive_all(Reactor& reactor, int fd, std::size_t length, std::string& out) {
  char buffer[10000];
  while (out.size() < length) {
    IoCount count = reactor.try_receive(fd, std::as_writable_bytes(std::span(buffer)));
    if (count && *count > 0) {
      out.append(buffer, *count);
    } else if (count || count.error() != Errno(EAGAIN) || !co_await reactor.poll(fd, POLLIN)) {
      co_return;
    }
  }
}

std::string pattern(std::size_t length, char seed) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(seed + i % 61);
  return text;
}

// At each end two tasks wait on the same descriptor, one per direction, and both directions fill up.
Task<void> exchange(Reactor& reactor, int one, int other, std::string& at_one, std::string& at_other) {
  constexpr std::size_t kLength = 1'500'000;
  Scope scope(reactor);
  bool sent[2] = {};
  scope.spawn("send", send_all(reactor, one, pattern(kLength, 'A'), sent[0]));
  scope.spawn("send", send_all(reactor, other, pattern(kLength, 'B'), sent[1]));
  scope.spawn("receive", receive_all(reactor, one, kLength, at_one));
  scope.spawn("receive", receive_all(reactor, other, kLength, at_other));
  co_await scope.join();
  EXPECT_TRUE(sent[0] && sent[1]);
}

TEST_P(StreamOperationsTest, BothDirectionsAtOnce) {
  std::string at_one;
  std::string at_other;
  run(exchange(reactor(), one, other, at_one, at_other));
  EXPECT_TRUE(at_one == pattern(1'500'000, 'B'));
  EXPECT_TRUE(at_other == pattern(1'500'000, 'A'));
}

Task<void> poll_into(Reactor& reactor, int fd, std::uint32_t events, std::expected<std::uint32_t, Errno>& out) {
  out = co_await reactor.poll(fd, events);
}

TEST_P(StreamOperationsTest, PollWaitsForWhatItWasAskedFor) {
  Scope scope(reactor());
  std::expected<std::uint32_t, Errno> in = 0;
  std::expected<std::uint32_t, Errno> out = 0;
  scope.spawn("reader", poll_into(reactor(), one, POLLIN, in));
  run(poll_into(reactor(), one, POLLOUT, out));
  EXPECT_EQ(out, static_cast<std::uint32_t>(POLLOUT));
  EXPECT_EQ(scope.size(), 1u) << "nothing to read yet";
  bool sent = false;
  run(send_all(reactor(), other, "x", sent));
  run(scope.join());
  EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
}

TEST_P(StreamOperationsTest, PollOfOneThatIsReadyEverAgainStaysRight) {
  bool sent = false;
  run(send_all(reactor(), other, "x", sent));
  for (int i = 0; i < 5; ++i) {
    std::expected<std::uint32_t, Errno> in = 0;
    run(poll_into(reactor(), one, POLLIN, in));
    EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
  }
  std::string received;
  run(receive_all(reactor(), one, 1, received));
  EXPECT_EQ(received, "x");
  Scope scope(reactor());
  std::expected<std::uint32_t, Errno> in = 0;
  scope.spawn("reader", poll_into(reactor(), one, POLLIN, in));
  for (int i = 0; i < 10; ++i) reactor().run_once(0);
  EXPECT_EQ(scope.size(), 1u);
  scope.cancel();
  run(scope.join());
}

TEST_P(StreamOperationsTest, TheEndOfThePeerIsReadableAndThenEmpty) {
  bool sent = false;
  run(send_all(reactor(), other, "bye", sent));
  reactor().close_now(other);
  other = -1;
  std::string received;
  run(receive_all(reactor(), one, 100, received));
  EXPECT_EQ(received, "bye");
  run(send_all(reactor(), one, "x", sent));
  iovec vector{received.data(), received.size()};
  EXPECT_EQ(reactor().try_send(one, std::span(&vector, 1)), IoCount(fail(EPIPE)));
}

TEST_P(StreamOperationsTest, ShutDownWakesWhoPolls) {
  Scope scope(reactor());
  std::expected<std::uint32_t, Errno> in = 0;
  scope.spawn("reader", poll_into(reactor(), one, POLLIN, in));
  for (int i = 0; i < 3; ++i) reactor().run_once(0);
  reactor().shut_down(one);
  run(scope.join());
  ASSERT_TRUE(in.has_value());
  EXPECT_NE(*in & (POLLIN | POLLHUP), 0u);
}

TEST_P(StreamOperationsTest, PollOfNoDescriptorFails) {
  std::expected<std::uint32_t, Errno> in = 0;
  run(poll_into(reactor(), 999, POLLIN, in));
  EXPECT_EQ(in, (std::expected<std::uint32_t, Errno>(fail(EBADF))));
}

TEST_P(StreamOperationsTest, ANumberUsedAgainIsAnotherConnection) {
  for (int i = 0; i < 5; ++i) {
    Scope scope(reactor());
    std::expected<std::uint32_t, Errno> in = 0;
    scope.spawn("reader", poll_into(reactor(), one, POLLIN, in));
    for (int turn = 0; turn < 3; ++turn) reactor().run_once(0);
    scope.cancel();
    run(scope.join());
    reactor().close_now(one);
    reactor().close_now(other);
    auto [first, second] = make_socket_pair();
    one = first;
    other = second;
    bool sent = false;
    run(send_all(reactor(), other, "x", sent));
    run(poll_into(reactor(), one, POLLIN, in));
    EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
  }
}

// More polls than the ring has entries, so that cancellations wait for entries too.
TEST_P(StreamOperationsTest, ManyPollsOfOneDescriptorAreCancelled) {
  Scope scope(reactor());
  std::vector<std::expected<std::uint32_t, Errno>> results(2000);
  for (auto& result : results) scope.spawn("reader", poll_into(reactor(), one, POLLIN, result));
  for (int turn = 0; turn < 3; ++turn) reactor().run_once(0);
  EXPECT_EQ(scope.size(), results.size());
  scope.cancel();
  run(scope.join());
  for (auto& result : results) EXPECT_TRUE(!result && result.error() == Errno(ECANCELED));
}

TEST_P(StreamOperationsTest, ManyPollsOfOneDescriptorAllEnd) {
  Scope scope(reactor());
  std::vector<std::expected<std::uint32_t, Errno>> results(2000);
  for (auto& result : results) scope.spawn("reader", poll_into(reactor(), one, POLLIN, result));
  bool sent = false;
  run(send_all(reactor(), other, "x", sent));
  run(scope.join());
  for (auto& result : results) EXPECT_EQ(result, static_cast<std::uint32_t>(POLLIN));
}

}  // namespace
}  // namespace blockexport::aio
