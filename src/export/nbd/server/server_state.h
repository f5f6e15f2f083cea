// ServerState: state shared by a server and its connections: options, the exports that a client can name, the running
// handshakes, and the clients in transmission with their slots.
//
// Owned by the Server. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aio/budget/process_budget.h"
#include "aio/sync/turn_queue.h"
#include "aio/threads/reactor_pool.h"
#include "authz/authorizer.h"
#include "base/log.h"
#include "export/nbd/server/bans.h"
#include "export/nbd/server/export_names.h"
#include "export/nbd/server/export_view.h"
#include "export/nbd/server/handshake_table.h"
#include "export/nbd/server/placed_transmission.h"
#include "export/nbd/server/server_counters.h"
#include "export/nbd/wire/export_info.h"
#include "net/tls_credentials.h"

namespace blockexport::nbd {

// The id of the server of those who have only one; no line of the log names it.
inline constexpr std::string_view kDefaultServerId = "default";

// Maximum number of connections in their handshake, where the limit of open files allows it.
inline constexpr std::size_t kHandshakesMax = 16384;
// The maximum for this process: half of its remaining descriptors stay free for everything else.
std::size_t handshakes_permitted();

// Source of the credentials and the authorizer for TLS, looked up by name at each handshake, because objects may be
// replaced while the server runs.
struct ServerTls {
  net::TlsDirectory* credentials = nullptr;
  std::string credentials_id = {};
  std::optional<std::string> authorizer_id = {};  // nullopt: every peer with a proven identity may connect

  friend bool operator==(const ServerTls&, const ServerTls&) = default;
};

struct ServerOptions {
  std::string id{kDefaultServerId};          // for queries, events, metrics and the log
  const Bans* bans = nullptr;                // outlives the server; null: nobody is banned
  ServerCounters* counters = nullptr;        // outlives the server; null: it has counters of its own
  std::uint32_t max_connections = 100;       // in transmission; 0 = no limit
  std::uint32_t handshake_max_seconds = 10;  // 0 = no limit
  std::size_t handshakes_max = handshakes_permitted();
  authz::Directory* authorizers = nullptr;       // of the authorizers that TLS and exports name
  std::optional<ServerTls> tls = {};             // if set, clients are served over TLS only
  ExportView view = {};                          // the exports that it shows
  std::uint64_t close_grace_ns = kCloseGraceNs;  // see TransmissionContext
};

class ServerState final : public ExportDirectory, private ExportNames::Viewer {
 public:
  // `names` outlives it.
  ServerState(aio::Reactor& on, aio::ReactorPool& pool, aio::ProcessBudget& memory, const Log& to, ExportNames& names,
              ServerOptions given);
  ~ServerState() override;

  // Takes over the limits, TLS and the view; the other options stay. Clients in transmission keep what they have. The
  // caller drops the clients in their handshake when TLS becomes required.
  void change(const ServerOptions& wanted);

  bool allows_multi_conn() const { return options.max_connections != 1; }
  // True if clients must prove their identity, as far as the credentials require it.
  bool requires_tls() const { return options.tls.has_value(); }

  // --- exports ---
  // True if it shows the export: its view contains it, and the export admits this server. One that only some clients
  // may use is shown over TLS only, where clients prove their identity.
  bool shows(const ExportInfo& info) const;
  // True if it shows an export of that name now, and how many it shows.
  bool has_export(std::string_view name) const { return exports_by_name_.contains(name); }
  std::size_t export_count() const { return exports_.size(); }
  // ExportDirectory. The result is valid until the next call of find() or next_after().
  const ExportInfo* find(std::string_view name) override;
  const ExportInfo* next_after(std::uint64_t sequence) override;
  std::optional<std::string> tls_refusal() override;

  // Time at which a connection's handshake must have ended, by the present options.
  std::uint64_t handshake_deadline(const HandshakeTable::Slot& slot) const;

  // --- clients in transmission ---
  // Adds a client, which leaves by leave(). False when the server is being stopped: then it is not added.
  bool enter(PlacedTransmission& client);
  void leave(PlacedTransmission& client);
  // Completes the running requests of all clients and disconnects them; no client enters any more.
  aio::Task<void> finish_clients();
  std::uint32_t client_count() const { return clients_; }
  bool is_full() const { return options.max_connections > 0 && clients_ >= options.max_connections; }
  // Waits until a slot is free; another client may take it first.
  aio::Task<IoResult> wait_for_slot();
  void take_slot() { ++clients_; }
  void give_back_slot();

  aio::Reactor& reactor;
  aio::ReactorPool& reactors;
  aio::ProcessBudget& budget;
  const Log& log;
  ExportNames& names;
  ServerOptions options;  // only change() changes them
  ServerCounters& counters;
  HandshakeTable handshakes;  // of Connections
  aio::Event handshake_began;
  aio::Event handshake_limit_changed;
  aio::TurnQueue long_handshakes;  // their steps
  aio::TurnQueue tls_handshakes;   // steps that take a millisecond of processor time

 private:
  void published(PublishedExport& added, const ExportInfo& info) override;
  void withdrawn(const ExportInfo& removed) override;
  const ExportInfo& as_shown(PublishedExport& one);

  std::map<std::uint64_t, PublishedExport*> exports_;  // those that it shows, by sequence: oldest first
  std::map<std::string, PublishedExport*, std::less<>> exports_by_name_;
  ServerCounters own_counters_;  // unless the options name others
  ExportInfo shown_;             // what as_shown() returned last, where it is not the export's own
  IntrusiveList<PlacedTransmission> transmissions_;
  std::uint32_t clients_ = 0;  // slots that are taken
  bool is_finishing_ = false;
  aio::Event slot_free_;
  aio::Event all_left_;
};

}  // namespace blockexport::nbd
