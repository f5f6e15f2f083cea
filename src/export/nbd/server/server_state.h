// ServerState: what a server, its exports and its connections share: options, the exports that a client can name, the
// handshakes that are under way, and the slots for clients in transmission.
//
// Owned by the Server. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aio/process_budget.h"
#include "aio/reactor_pool.h"
#include "aio/turn_queue.h"
#include "authz/authorizer.h"
#include "base/log.h"
#include "export/nbd/server/handshake_table.h"
#include "export/nbd/transmission/transmission.h"
#include "export/nbd/wire/export_info.h"
#include "net/tls_credentials.h"

namespace blockexport::nbd {

// Connections that may be in their handshake at the same time, where the process may open so many files.
inline constexpr std::size_t kHandshakesMax = 16384;
// The same, with half of the descriptors that the process may have left for everything else.
std::size_t handshakes_permitted();

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

// An export that clients can name, as its server sees it.
class PublishedExport {
 public:
  // As new clients see it.
  virtual const ExportInfo& current_info() = 0;

 protected:
  ~PublishedExport() = default;
};

class ServerState final : public ExportDirectory {
 public:
  ServerState(aio::Reactor& on, aio::ReactorPool& pool, aio::ProcessBudget& memory, const Log& to, ServerOptions given);

  bool allows_multi_conn() const { return options.max_connections != 1; }
  // Whether clients have proved who they are, as far as the credentials make them.
  bool requires_tls() const { return options.tls.has_value(); }

  // --- exports ---
  bool has_export(std::string_view name) const { return exports_by_name_.contains(name); }
  // An export becomes visible under `name`, and is given its sequence number; or it is visible no more.
  std::uint64_t publish(PublishedExport& added, const std::string& name);
  void withdraw(const ExportInfo& removed);
  // ExportDirectory
  const ExportInfo* find(std::string_view name) override;
  const ExportInfo* next_after(std::uint64_t sequence) override;
  std::optional<std::string> tls_refusal() override;

  // --- slots of clients in transmission ---
  bool is_full() const { return options.max_connections > 0 && clients_ >= options.max_connections; }
  // Until one is free; somebody else may take it before.
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
  aio::TurnQueue long_handshakes;  // their pieces of work
  aio::TurnQueue tls_handshakes;   // steps that cost a millisecond

 private:
  std::map<std::uint64_t, PublishedExport*> exports_;  // by sequence: oldest first
  std::map<std::string, PublishedExport*, std::less<>> exports_by_name_;
  std::uint64_t last_sequence_ = 0;
  std::uint32_t clients_ = 0;
  aio::Event slot_free_;
};

}  // namespace blockexport::nbd
