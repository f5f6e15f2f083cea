// Server: the NBD server of the process: its listeners, its connections, and the exports that a client can name.
//
// It greets a connection as soon as it is accepted; the client has until the handshake limit to choose an export. Idle
// clients in the handshake do not keep others out: they do not count as connections, and when there are too many of
// them, the server drops one of the peer that has the most (handshake_table.h). Owned by the control layer; thread: the
// control reactor. After its handshake a client is served on the reactor of its export, or on the data reactor with the
// fewest clients.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "aio/sync/scope.h"
#include "export/nbd/server/connection.h"
#include "export/nbd/server/server_state.h"
#include "net/listen.h"

namespace blockexport::nbd {

// Clients that are accepted, or dropped after a timeout, before others get a turn.
inline constexpr std::size_t kAcceptsPerTurnMax = 32;

class Server {
 public:
  Server(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
         aio::Event& serving, ServerOptions options);
  ~Server();

  // Accepts clients from `listener` from now on, or once `serving` is set.
  void listen_on(std::unique_ptr<net::Listener> listener);
  // Serves a client that was accepted; `peer` is its short name. If too many are in their handshake, drops one of them.
  void admit(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group);

  // Keeps the files of its unix sockets when it stops listening.
  void keep_paths();
  // Stops accepting clients, and closes the listening sockets.
  aio::Task<void> stop_listening();
  // Ends all remaining connections, those of removed exports and those in their handshake, and waits for their end.
  aio::Task<void> close_connections();

  const std::vector<std::unique_ptr<net::Listener>>& listeners() const { return listeners_; }
  // Number of the newest client; counts those of earlier servers too.
  std::uint64_t clients_ever() const { return clients_ever_; }
  // The state at which exports are published.
  ServerState& state() { return state_; }

 private:
  aio::Task<void> accept_loop(net::Listener& listener, std::size_t index);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group);
  aio::Task<void> watch_handshakes();
  Connection* oldest_handshake() { return static_cast<Connection*>(state_.handshakes.oldest()); }
  void end_handshake(HandshakeTable::Slot& slot);
  void drop_a_handshake();

  ServerState state_;
  aio::Event& serving_;
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::uint64_t clients_ever_;
  aio::Scope accepting_;
  aio::Scope connections_;
};

}  // namespace blockexport::nbd
