// Server: the process's NBD server: where it listens, who is connected, and which exports a client can name.
//
// A connection is greeted as soon as it is accepted and has until the handshake limit to choose an export. Clients that
// only sit there do not keep others out: they do not count as connections, and when too many of them wait, one of the
// peer that has most is dropped (handshake_table.h). Owned by the control layer; thread: the control reactor. After its
// handshake a client is served at the reactor of its export, or at the data reactor that has fewest.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "aio/scope.h"
#include "export/nbd/server/connection.h"
#include "export/nbd/server/server_state.h"
#include "net/listen.h"

namespace blockexport::nbd {

// Clients that are accepted, or dropped because their time is over, before others have their turn.
inline constexpr std::size_t kAcceptsPerTurnMax = 32;

class Server {
 public:
  Server(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
         aio::Event& serving, ServerOptions options);
  ~Server();

  // Takes clients from `listener` from now on, or from when `serving` is set.
  void listen_on(std::unique_ptr<net::Listener> listener);
  // Serves a client that was accepted, `peer` for short. If too many are in their handshake, one of them is dropped.
  void admit(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group);

  // The files of its unix sockets stay when it stops listening.
  void keep_paths();
  // Stops taking clients, and closes the listening sockets.
  aio::Task<void> stop_listening();
  // Ends every connection that is left, of exports that are gone and in handshakes, and waits for their end.
  aio::Task<void> close_connections();

  const std::vector<std::unique_ptr<net::Listener>>& listeners() const { return listeners_; }
  // How many clients this server and those before it have had: the number of the newest.
  std::uint64_t clients_ever() const { return clients_ever_; }
  // What exports are published at.
  ServerState& state() { return state_; }

 private:
  aio::Task<void> accept_loop(net::Listener& listener, std::size_t index);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group);
  aio::Task<void> watch_handshakes();
  Connection* oldest_handshake() { return static_cast<Connection*>(state_.handshakes.oldest()); }
  void end_handshake(HandshakeTable::Place& place);
  void drop_a_handshake();

  ServerState state_;
  aio::Event& serving_;
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::uint64_t clients_ever_;
  aio::Scope accepting_;
  aio::Scope connections_;
};

}  // namespace blockexport::nbd
