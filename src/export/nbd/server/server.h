// Server: the process's NBD server: where it listens, who is connected, and which exports a client can name.
//
// A connection is greeted as soon as it is accepted and has until the handshake limit to choose an export. Clients that
// only sit there do not keep others out: they do not count as connections, and when too many of them wait, one of the
// peer that has most is dropped (handshake_table.h). Owned by the control layer; thread: the control reactor. After its
// handshake a client is served at the reactor of its export, or at the data reactor that has fewest.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "aio/process_budget.h"
#include "aio/reactor_pool.h"
#include "aio/scope.h"
#include "aio/turn_queue.h"
#include "authz/authorizer.h"
#include "base/log.h"
#include "export/nbd/server/connection.h"
#include "export/nbd/transmission/transmission.h"
#include "export/nbd/wire/export_info.h"
#include "net/listen.h"
#include "net/tls_credentials.h"

namespace blockexport::nbd {

class NbdExport;

// Connections that may be in their handshake at the same time, where the process may open so many files.
inline constexpr std::size_t kHandshakesMax = 16384;
// The same, with half of the descriptors that the process may have left for everything else.
std::size_t handshakes_permitted();
// Clients that are accepted, or dropped because their time is over, before others have their turn.
inline constexpr std::size_t kAcceptsPerTurnMax = 32;
// How long accepting pauses when the process has no descriptors or memory left.
inline constexpr std::uint64_t kAcceptPauseNs = 100'000'000;

// Where the server finds what TLS needs, by name, at each handshake: objects may be replaced while it runs.
struct ServerTls {
  net::TlsDirectory* credentials = nullptr;
  std::string credentials_id = {};
  std::optional<std::string> authorizer_id = {};  // nothing: who has proved an identity is let in
};

struct ServerOptions {
  std::uint32_t max_connections = 100;       // in transmission; 0 = no limit
  std::uint32_t handshake_max_seconds = 10;  // 0 = no limit
  std::size_t handshakes_max = handshakes_permitted();
  authz::Directory* authorizers = nullptr;       // those that TLS and exports name
  std::optional<ServerTls> tls = {};             // with it, clients are served over TLS alone
  std::uint64_t clients_before = 0;              // that earlier servers of the process had: their numbers go on
  std::uint64_t close_grace_ns = kCloseGraceNs;  // see TransmissionContext
};

class Server final : public ExportDirectory {
 public:
  Server(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
         aio::Event& serving, ServerOptions options);
  ~Server() override;

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
  bool allows_multi_conn() const { return options_.max_connections != 1; }
  // Whether clients have proved who they are, as far as the credentials make them.
  bool requires_tls() const { return options_.tls.has_value(); }

  // The visible export of that name, or null.
  NbdExport* find_export(std::string_view name) const;
  // An export becomes visible, and is given its sequence number; or it is visible no more.
  std::uint64_t publish(NbdExport& added);
  void withdraw(NbdExport& removed);

  // ExportDirectory
  const ExportInfo* find(std::string_view name) override;
  const ExportInfo* next_after(std::uint64_t sequence) override;
  std::optional<std::string> tls_refusal() override;

 private:
  friend class Connection;

  aio::Task<void> accept_loop(net::Listener& listener, std::size_t index);
  aio::Task<void> serve(std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup group);
  aio::Task<void> watch_handshakes();
  Connection* oldest_handshake() { return static_cast<Connection*>(handshakes_.oldest()); }
  void end_handshake(HandshakeTable::Place& place);
  bool is_full() const { return options_.max_connections > 0 && clients_ >= options_.max_connections; }
  aio::Task<IoResult> wait_for_slot();
  void drop_a_handshake();

  aio::Reactor& reactor_;
  aio::ReactorPool& reactors_;
  aio::ProcessBudget& budget_;
  const Log& log_;
  aio::Event& serving_;
  ServerOptions options_;
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::map<std::uint64_t, NbdExport*> visible_exports_;  // by sequence: oldest first
  std::map<std::string, NbdExport*, std::less<>> exports_by_name_;
  std::uint64_t last_sequence_ = 0;
  std::uint64_t clients_ever_;
  aio::Scope accepting_;
  aio::Scope connections_;
  HandshakeTable handshakes_;  // of Connections
  std::uint32_t clients_ = 0;  // in transmission
  aio::Event slot_free_;
  aio::TurnQueue long_handshakes_;  // their pieces of work
  aio::TurnQueue tls_handshakes_;   // steps that cost a millisecond
  aio::Event handshake_began_;
};

}  // namespace blockexport::nbd
