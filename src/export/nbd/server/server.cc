#include "export/nbd/server/server.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "base/lasting_condition.h"
#include "net/peer_group.h"

namespace blockexport::nbd {
namespace {

// Number that distinguishes a client from all others of the process: clients of one user on unix sockets have no
// address that could.
std::string name_of(const net::Accepted& accepted, std::uint64_t number) {
  std::string from =
      accepted.peer.family() == AF_UNIX ? fmt::format("unix:uid {}", accepted.peer_uid) : net::describe(accepted.peer);
  return fmt::format("{} #{}", from, number);
}

}  // namespace

Server::Server(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
               aio::Event& serving, ServerOptions options)
    : state_(reactor, reactors, budget, log, std::move(options)),
      serving_(serving),
      clients_ever_(state_.options.clients_before),
      accepting_(reactor),
      connections_(reactor) {
  if (state_.options.handshake_max_seconds > 0) accepting_.spawn("nbd handshake watch", watch_handshakes());
}

Server::~Server() = default;

void Server::listen_on(std::unique_ptr<net::Listener> listener) {
  listeners_.push_back(std::move(listener));
  net::Listener& added = *listeners_.back();
  for (std::size_t i = 0; i < added.socket_count(); ++i) accepting_.spawn("nbd accept", accept_loop(added, i));
}

aio::Task<void> Server::stop_listening() {
  accepting_.cancel();
  co_await accepting_.join();
  for (auto& listener : listeners_) listener->close();
}

void Server::keep_paths() {
  for (auto& listener : listeners_) listener->keep_path();
}

aio::Task<void> Server::close_connections() {
  while (HandshakeTable::Slot* slot = state_.handshakes.oldest()) end_handshake(*slot);
  connections_.cancel();
  co_await connections_.join();
}

aio::Task<void> Server::accept_loop(net::Listener& listener, std::size_t index) {
  if (!co_await serving_.wait()) co_return;
  listener.settle();
  LastingCondition refusal(state_.log);
  const aio::TaskRoot& task = co_await aio::current_task();
  for (std::size_t taken = 0;; ++taken) {
    // When every slot is taken, a new client gets no greeting, and the next ones wait in the kernel's queue, as with
    // QEMU's server.
    if (!co_await state_.wait_for_slot()) co_return;
    // While clients keep coming this loop never waits, so it has to check for a cancellation itself.
    if (taken >= kAcceptsPerTurnMax) {
      taken = 0;
      co_await aio::next_turn();
      if (task.cancelled) co_return;
    }
    auto accepted = co_await listener.accept(index);
    if (!accepted) {
      if (accepted.error() == Errno(ECANCELED)) co_return;
      refusal.happened(fmt::format("cannot accept NBD clients on {}: {}", net::describe(listener.address()),
                                   errno_text(accepted.error())));
      drop_a_handshake();
      if (!co_await state_.reactor.sleep_until(state_.reactor.now_ns() + net::kAcceptPauseNs)) co_return;
      continue;
    }
    if (refusal.is_on()) {
      refusal.ended(fmt::format("NBD clients are accepted on {} again", net::describe(listener.address())));
    }
    // The last slot may have been taken while this task waited for the client.
    if (!co_await state_.wait_for_slot()) co_return;
    std::string peer = name_of(*accepted, ++clients_ever_);
    const net::PeerGroup group = net::peer_group_of(accepted->peer, accepted->peer_uid);
    admit(std::make_unique<net::SocketStream>(state_.reactor, accepted->fd.release()), std::move(peer), group);
  }
}

void Server::admit(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group) {
  if (state_.handshakes.is_full()) drop_a_handshake();
  connections_.spawn("nbd connection", serve(std::move(stream), std::move(peer), group));
}

aio::Task<void> Server::serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group) {
  Connection connection(state_, std::move(stream), std::move(peer), group);
  co_await connection.run();
}

// Drops the handshakes that exceed their limit. The table is ordered by their begin, and all have the same limit.
aio::Task<void> Server::watch_handshakes() {
  for (;;) {
    std::size_t dropped = 0;
    for (Connection* oldest = oldest_handshake(); oldest != nullptr && oldest->deadline_ns() <= state_.reactor.now_ns();
         oldest = oldest_handshake()) {
      end_handshake(*oldest);
      if (++dropped % kAcceptsPerTurnMax == 0) co_await aio::next_turn();
    }
    Connection* oldest = oldest_handshake();
    if (oldest == nullptr) {
      state_.handshake_began.reset();
      if (!co_await state_.handshake_began.wait()) co_return;
      continue;
    }
    if (!co_await state_.reactor.sleep_until(oldest->deadline_ns())) co_return;
  }
}

void Server::drop_a_handshake() {
  if (HandshakeTable::Slot* slot = state_.handshakes.to_drop(state_.reactor.now_ns())) end_handshake(*slot);
}

// Its connection ends in a later turn.
void Server::end_handshake(HandshakeTable::Slot& slot) {
  static_cast<Connection&>(slot).drop();
  state_.handshakes.remove(slot);
}

}  // namespace blockexport::nbd
