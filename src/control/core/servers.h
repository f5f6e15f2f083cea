// Servers: the NBD servers by id, and the names of the exports that they share.
//
// The server with the id "default" is that of nbd-server-start and --nbd-server. A server that is being stopped keeps
// its id until its last client has left, but is found no more. Owned by Control. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/reserved_names.h"
#include "export/nbd/server/server.h"
#include "export/registry.h"

namespace blockexport::control {

inline constexpr std::string_view kDefaultServerId = nbd::kDefaultServerId;
// Servers at a time, bytes of an id, and listeners of one server.
inline constexpr std::size_t kServersMax = 64;
inline constexpr std::size_t kServerIdBytesMax = 64;
inline constexpr std::size_t kListenersPerServerMax = 64;

class Servers {
 public:
  // Treatment of the NBD exports when a server stops.
  enum class ExportsAtStop : std::uint8_t {
    kKept,
    kRemovedUnlessShown,  // those stay that another server shows
  };

  // All references outlive it. Servers accept clients once `serving` is set.
  Servers(aio::Reactor& reactor, aio::ReactorPool& reactors, aio::ProcessBudget& budget, const Log& log,
          aio::Event& serving, exports::Registry& exports);
  ~Servers();

  // The exports of all servers, by name.
  nbd::ExportNames& names() { return names_; }

  // Null when there is no server of that id, or it is being stopped. Do not keep the pointer over an await: another
  // task may stop the server.
  nbd::Server* find(std::string_view id) const;
  nbd::Server* find_default() const { return find(kDefaultServerId); }
  // True if there is such a server, even one that is being stopped.
  bool contains(std::string_view id) const { return running_.contains(id); }
  bool is_stopping(std::string_view id) const { return contains(id) && find(id) == nullptr; }
  // All servers, and those that are not being stopped, by id. Do not keep them over an await.
  std::map<std::string, nbd::Server*> all() const;
  std::map<std::string, nbd::Server*> serving() const;
  // Counters by id: of all servers, and of the default one even when it is stopped.
  const std::map<std::string, nbd::ServerCounters, std::less<>>& counters() const { return counters_; }
  // True if there is a server that is not being stopped, and one of these that requires TLS.
  bool any() const { return !serving().empty(); }
  bool any_with_tls() const;

  // Errors: an id that is malformed, in use or reserved, or too many servers.
  Result<> check_new_id(std::string_view id) const;
  // Reserves a checked id for a server that is being prepared.
  ReservedNames::Reservation reserve(std::string_view id) { return reserved_.reserve(id); }
  // The clients that are banned on all servers.
  nbd::Bans& bans() { return bans_; }
  // Makes a server, without listeners. No server has that id.
  nbd::Server& make(std::string_view id, nbd::ServerOptions options);

  // Completes the running requests of the server's clients, and ends it. A second call meanwhile waits for the same
  // end; without such a server the function does nothing.
  aio::Task<void> stop(std::string id, ExportsAtStop exports);
  // Ends all servers and removes all NBD exports. The files of the default server's unix sockets stay with
  // `keeps_default_paths`.
  aio::Task<void> stop_all(bool keeps_default_paths);

  // Writes "NBD server 'ID' TEXT" to the log, at level info; nothing about the default server.
  void tell(std::string_view id, std::string_view text) const;

  // Time that the clients of servers made from now on have to read their last replies.
  void set_close_grace_ns(std::uint64_t grace_ns) { close_grace_ns_ = grace_ns; }

 private:
  struct Running {
    std::unique_ptr<nbd::Server> server;
    std::uint64_t number;  // never reused
    bool is_stopping = false;
  };

  bool is_shown_elsewhere(const exports::Export& one, std::string_view id) const;
  bool still_runs(std::string_view id, std::uint64_t number) const;
  aio::Task<void> wait_until_ended(std::string id, std::uint64_t number);
  void erase(std::string_view id);
  void share_handshakes();

  aio::Reactor& reactor_;
  aio::ReactorPool& reactors_;
  aio::ProcessBudget& budget_;
  const Log& log_;
  aio::Event& serving_;
  exports::Registry& exports_;
  nbd::ExportNames names_;
  nbd::Bans bans_;
  std::map<std::string, nbd::ServerCounters, std::less<>> counters_;  // outlive the servers
  std::map<std::string, Running, std::less<>> running_;
  ReservedNames reserved_;
  std::uint64_t last_number_ = 0;
  std::uint64_t close_grace_ns_ = nbd::kCloseGraceNs;
  aio::Event ended_;  // a server has ended
};

}  // namespace blockexport::control
