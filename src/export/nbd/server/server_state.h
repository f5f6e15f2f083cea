// ServerState: state shared by a server, its exports and its connections: options, the exports that a client can name,
// the running handshakes, and the slots for clients in transmission.
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
#include "export/nbd/server/handshake_table.h"
#include "export/nbd/transmission/transmission.h"
#include "export/nbd/wire/export_info.h"
#include "net/tls_credentials.h"

namespace blockexport::nbd {

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
};

struct ServerOptions {
  std::uint32_t max_connections = 100;       // in transmission; 0 = no limit
  std::uint32_t handshake_max_seconds = 10;  // 0 = no limit
  std::size_t handshakes_max = handshakes_permitted();
  authz::Directory* authorizers = nullptr;       // of the authorizers that TLS and exports name
  std::optional<ServerTls> tls = {};             // if set, clients are served over TLS only
  std::uint64_t clients_before = 0;              // clients of earlier servers of the process; numbers continue from it
  std::uint64_t close_grace_ns = kCloseGraceNs;  // see TransmissionContext
};

// The server's view of an export that clients can name.
class PublishedExport {
 public:
  // The description that new clients get.
  virtual const ExportInfo& current_info() = 0;

 protected:
  ~PublishedExport() = default;
};

class ServerState final : public ExportDirectory {
 public:
  ServerState(aio::Reactor& on, aio::ReactorPool& pool, aio::ProcessBudget& memory, const Log& to, ServerOptions given);

  bool allows_multi_conn() const { return options.max_connections != 1; }
  // Whether clients must prove their identity, as far as the credentials require it.
  bool requires_tls() const { return options.tls.has_value(); }

  // --- exports ---
  bool has_export(std::string_view name) const { return exports_by_name_.contains(name); }
  // Makes an export visible under `name` and returns its sequence number; or hides it.
  std::uint64_t publish(PublishedExport& added, const std::string& name);
  void withdraw(const ExportInfo& removed);
  // ExportDirectory
  const ExportInfo* find(std::string_view name) override;
  const ExportInfo* next_after(std::uint64_t sequence) override;
  std::optional<std::string> tls_refusal() override;

  // --- slots of clients in transmission ---
  bool is_full() const { return options.max_connections > 0 && clients_ >= options.max_connections; }
  // Waits until a slot is free; another client may take it first.
  aio::Task<IoResult> wait_for_slot();
  void take_slot() { ++clients_; }
  void give_back_slot();

  aio::Reactor& reactor;
  aio::ReactorPool& reactors;
  aio::ProcessBudget& budget;
  const Log& log;
  const ServerOptions options;
  HandshakeTable handshakes;  // of Connections
  aio::Event handshake_began;
  aio::TurnQueue long_handshakes;  // their steps
  aio::TurnQueue tls_handshakes;   // steps that take a millisecond of processor time

 private:
  std::map<std::uint64_t, PublishedExport*> exports_;  // by sequence: oldest first
  std::map<std::string, PublishedExport*, std::less<>> exports_by_name_;
  std::uint64_t last_sequence_ = 0;
  std::uint32_t clients_ = 0;
  aio::Event slot_free_;
};

}  // namespace blockexport::nbd
