// For tests: a fixture with storage, and transmissions over socket pairs with a client at the other end.
//
// Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/until.h"
#include "export/nbd/testing/client.h"
#include "export/nbd/testing/storage.h"
#include "net/socket_stream.h"

namespace blockexport::nbd::testing {

// A client and its session: the transmission runs until end(), or until the server ends it.
class Session {
 public:
  Session(Backing& backing, std::pair<int, int> sockets, SessionState state)
      : client(std::make_unique<net::SocketStream>(backing.reactor, sockets.second), state.header_mode),
        transmission(backing.context(), std::make_unique<net::SocketStream>(backing.reactor, sockets.first),
                     std::move(state), {}),
        scope_(backing.reactor) {
    scope_.spawn("transmission", serve(transmission));
  }

  // The client closes the connection without DISC; returns when the server has ended the session.
  aio::Task<void> end() {
    client.close();
    co_await scope_.join();
  }
  // Waits until the server has ended the session.
  aio::Task<void> ended() { co_await scope_.join(); }
  bool running() const { return scope_.size() > 0; }

  Client client;
  Transmission transmission;

 private:
  static aio::Task<void> serve(Transmission& served) {
    co_await served.run();
    served.close();
  }

  aio::Scope scope_;
};

class TransmissionTest : public aio::testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (!IsSkipped()) backing_.emplace(reactor());
  }
  void TearDown() override {
    if (!backing_) return;
    EXPECT_EQ(backing_->budget.used_bytes(), 0u);
    EXPECT_FALSE(backing_->fence.is_up());
  }

  Backing& backing() { return *backing_; }
  StorageState& storage() { return backing_->storage; }
  // A session with a client of `mode`.
  std::unique_ptr<Session> connect(HeaderMode mode = HeaderMode::kStructured) {
    return connect(make_state(mode, storage().bytes.size()));
  }
  std::unique_ptr<Session> connect(SessionState state) {
    return std::make_unique<Session>(*backing_, make_socket_pair(), std::move(state));
  }
  template <class Condition>
  aio::Task<void> until(Condition condition) {
    return aio::testing::until(reactor(), std::move(condition));
  }

 private:
  std::optional<Backing> backing_;
};

}  // namespace blockexport::nbd::testing
