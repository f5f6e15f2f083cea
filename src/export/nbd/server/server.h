// Server: an NBD server: its listeners, its connections, and its view of the exports. A process may have several.
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
  // `names`: the exports of all servers. All references outlive it.
  Server(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
         aio::Event& serving, ExportNames& names, ServerOptions options);
  ~Server();

  // Accepts clients from `listener` from now on, or once `serving` is set.
  void listen_on(std::unique_ptr<net::Listener> listener);
  // Accepts no more clients from one of its listeners; a later turn of the loop closes it. Its clients stay.
  void close_listener(const net::Listener& listener);
  // Changes limits, TLS and the view for clients that come from now on. When TLS becomes required, clients in their
  // handshake are disconnected.
  void change(const ServerOptions& wanted);
  // Serves a client that was accepted; `peer` is its short name, and `number` unique in the process. If too many are in
  // their handshake, drops one of them.
  void admit(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group, std::uint64_t number);

  // Keeps the files of its unix sockets when it stops listening.
  void keep_paths();
  // Stops accepting clients, and closes the listening sockets.
  aio::Task<void> stop_listening();
  // Disconnects the clients in their handshake; completes the running requests of all others and disconnects them.
  aio::Task<void> finish_clients();
  // Ends all remaining connections, those of removed exports and those in their handshake, and waits for their end.
  aio::Task<void> close_connections();

  // In the order of listen_on().
  std::vector<const net::Listener*> listeners() const;
  ServerState& state() { return state_; }
  const ServerState& state() const { return state_; }

 private:
  // A listener and the tasks that accept from its sockets.
  struct Listening {
    Listening(aio::Reactor& reactor, std::unique_ptr<net::Listener> from)
        : listener(std::move(from)), accepting(reactor) {}
    std::unique_ptr<net::Listener> listener;
    aio::Scope accepting;
  };

  aio::Task<void> accept_loop(net::Listener& listener, std::size_t index);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group,
                        std::uint64_t number);
  static aio::Task<void> end(std::unique_ptr<Listening> listening);
  aio::Task<void> watch_handshakes();
  std::uint64_t oldest_deadline_ns();
  void end_handshake(HandshakeTable::Slot& slot, HandshakeFailure failure, std::string_view reason);
  void end_handshakes(std::string_view reason);
  void drop_a_handshake();

  ServerState state_;
  aio::Event& serving_;
  std::vector<std::unique_ptr<Listening>> listeners_;
  aio::Scope watching_;
  aio::Scope closing_;  // listeners that are being closed
  aio::Scope connections_;
};

}  // namespace blockexport::nbd
