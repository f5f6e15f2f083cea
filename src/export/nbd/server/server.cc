#include "export/nbd/server/server.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/with_deadline.h"
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
               aio::Event& serving, ExportNames& names, ServerOptions options)
    : state_(reactor, reactors, budget, log, names, std::move(options)),
      serving_(serving),
      watching_(reactor),
      closing_(reactor),
      connections_(reactor) {
  watching_.spawn("nbd handshake watch", watch_handshakes());
}

Server::~Server() = default;

void Server::listen_on(std::unique_ptr<net::Listener> listener) {
  listeners_.push_back(std::make_unique<Listening>(state_.reactor, std::move(listener)));
  Listening& added = *listeners_.back();
  for (std::size_t i = 0; i < added.listener->socket_count(); ++i) {
    added.accepting.spawn("nbd accept", accept_loop(*added.listener, i));
  }
}

void Server::close_listener(const net::Listener& listener) {
  const auto found =
      std::ranges::find_if(listeners_, [&](const auto& listening) { return listening->listener.get() == &listener; });
  if (found == listeners_.end()) return;
  std::unique_ptr<Listening> listening = std::move(*found);
  listeners_.erase(found);
  listening->accepting.cancel();
  closing_.spawn("nbd listener end", end(std::move(listening)));
}

aio::Task<void> Server::end(std::unique_ptr<Listening> listening) {
  co_await listening->accepting.join();
  listening->listener->close();
}

std::vector<const net::Listener*> Server::listeners() const {
  std::vector<const net::Listener*> all;
  for (const auto& listening : listeners_) all.push_back(listening->listener.get());
  return all;
}

void Server::change(const ServerOptions& wanted) {
  const bool begins_tls = wanted.tls && !state_.requires_tls();
  state_.change(wanted);
  if (begins_tls) end_handshakes("the server requires TLS now");
}

aio::Task<void> Server::stop_listening() {
  watching_.cancel();
  for (auto& listening : listeners_) listening->accepting.cancel();
  for (auto& listening : listeners_) co_await listening->accepting.join();
  co_await watching_.join();
  co_await closing_.join();
  for (auto& listening : listeners_) listening->listener->close();
}

void Server::keep_paths() {
  for (auto& listening : listeners_) listening->listener->keep_path();
}

aio::Task<void> Server::finish_clients() {
  end_handshakes("the server stops");
  co_await state_.finish_clients();
}

aio::Task<void> Server::close_connections() {
  end_handshakes("the server stops");
  connections_.cancel();
  co_await connections_.join();
}

aio::Task<void> Server::accept_loop(net::Listener& listener, std::size_t index) {
  if (!co_await serving_.wait()) co_return;
  listener.settle();
  LastingCondition refusal(state_.log, state_.options.id);
  const std::string place = net::describe(listener.address()) + of_server(state_.options.id);
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
      refusal.happened(fmt::format("cannot accept NBD clients on {}: {}", place, errno_text(accepted.error())));
      drop_a_handshake();
      if (!co_await state_.reactor.sleep_until(state_.reactor.now_ns() + net::kAcceptPauseNs)) co_return;
      continue;
    }
    if (refusal.is_on()) {
      refusal.ended(fmt::format("NBD clients are accepted on {} again", place));
    }
    // The last slot may have been taken while this task waited for the client.
    if (!co_await state_.wait_for_slot()) co_return;
    const std::uint64_t number = state_.names.number_client();
    std::string peer = name_of(*accepted, number);
    const net::PeerGroup group = net::peer_group_of(accepted->peer, accepted->peer_uid);
    admit(std::make_unique<net::SocketStream>(state_.reactor, accepted->fd.release()), std::move(peer), group, number);
  }
}

void Server::admit(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group, std::uint64_t number) {
  if (state_.handshakes.is_full()) drop_a_handshake();
  ++state_.counters.accepted;
  connections_.spawn("nbd connection", serve(std::move(stream), std::move(peer), group, number));
}

aio::Task<void> Server::serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group,
                              std::uint64_t number) {
  Connection connection(state_, std::move(stream), peer, group, number);
  co_await connection.run();
}

// Drops the handshakes that exceed their limit. The table is ordered by their begin, and all have the same limit, which
// may change meanwhile.
aio::Task<void> Server::watch_handshakes() {
  for (;;) {
    std::size_t dropped = 0;
    std::uint64_t deadline_ns = oldest_deadline_ns();
    for (; deadline_ns <= state_.reactor.now_ns(); deadline_ns = oldest_deadline_ns()) {
      end_handshake(*state_.handshakes.oldest(), HandshakeFailure::kTimeout,
                    "its handshake took longer than handshake-max-seconds");
      if (++dropped % kAcceptsPerTurnMax == 0) co_await aio::next_turn();
    }
    const bool is_idle = deadline_ns == UINT64_MAX;
    aio::Event& awaited = is_idle ? state_.handshake_began : state_.handshake_limit_changed;
    awaited.reset();
    const IoResult waited = co_await aio::with_deadline("nbd handshake limit", deadline_ns, awaited);
    if (!waited && waited.error() == Errno(ECANCELED)) co_return;
  }
}

void Server::drop_a_handshake() {
  if (HandshakeTable::Slot* slot = state_.handshakes.to_drop(state_.reactor.now_ns())) {
    end_handshake(*slot, HandshakeFailure::kDisplaced, "too many clients are in their handshake");
  }
}

void Server::end_handshakes(std::string_view reason) {
  while (HandshakeTable::Slot* slot = state_.handshakes.oldest()) {
    end_handshake(*slot, HandshakeFailure::kDisconnected, reason);
  }
}

std::uint64_t Server::oldest_deadline_ns() {
  const HandshakeTable::Slot* oldest = state_.handshakes.oldest();
  return oldest == nullptr ? UINT64_MAX : state_.handshake_deadline(*oldest);
}

// Its connection ends in a later turn.
void Server::end_handshake(HandshakeTable::Slot& slot, HandshakeFailure failure, std::string_view reason) {
  static_cast<Connection&>(slot).drop(failure, reason);
  state_.handshakes.remove(slot);
}

}  // namespace blockexport::nbd
