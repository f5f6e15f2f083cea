// PreparedServer: a new NBD server, or a change of a running one, of which everything that can fail is done.
//
// Preparation checks the configuration, and binds its addresses: the kernel queues clients there, and no server accepts
// them before commit(). Without commit() the destructor closes the sockets and removes their unix paths. A unix socket
// that no process listens on any more is replaced in either case. Used by nbd-servers-add and by the configuration.
// Thread: the control reactor.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "base/reserved_names.h"
#include "export/nbd/server/server_state.h"
#include "net/listen.h"
#include "schema/server.h"

namespace blockexport::control {

class Control;

class PreparedServer {
 public:
  // Prepares a server that does not exist. `credentials` (which outlives the call) is where the TLS credentials must be
  // found, by default the objects that exist: a reload includes those that it will make. Errors: an id that is
  // malformed or taken, a wrong configuration, an address that cannot be listened on, credentials that do not exist.
  static aio::Task<Result<PreparedServer>> add(Control& control, std::string id,
                                               schema::NbdServerConfiguration configuration,
                                               net::TlsDirectory* credentials = nullptr);
  // Prepares a change of a running server to another configuration. Addresses in both configurations keep their
  // sockets and clients. Everything else concerns clients that come after commit(): those that use exports stay as they
  // are, also when their export leaves the view. Errors: as above, and no such server. An address whose options alone
  // differ is in use, by the server itself.
  static aio::Task<Result<PreparedServer>> change(Control& control, std::string id,
                                                  schema::NbdServerConfiguration configuration,
                                                  net::TlsDirectory* credentials = nullptr);

  PreparedServer(PreparedServer&&) = default;
  PreparedServer& operator=(PreparedServer&&) = delete;

  const std::string& id() const { return id_; }

  // Makes the server, or changes it. Cannot fail; a change of a server that has been stopped since has no effect.
  // Called at most once.
  void commit(Control& control) &&;

 private:
  PreparedServer(std::string id, nbd::ServerOptions options) : id_(std::move(id)), options_(std::move(options)) {}
  aio::Task<Result<>> open(Control& control, std::vector<net::SocketAddress> addresses);

  std::string id_;
  nbd::ServerOptions options_;
  std::optional<ReservedNames::Reservation> reservation_;  // only for a new server
  std::vector<net::SocketAddress> addresses_;              // all that the configuration names
  std::vector<std::unique_ptr<net::Listener>> listeners_;  // the new ones
};

// Checks everything about a configuration that needs neither the system nor other objects. Errors: malformed texts, too
// many addresses, an address that is given twice, too many or too long patterns.
Result<> check_server(const schema::NbdServerConfiguration& configuration);

// Its addresses. Errors: as above.
Result<std::vector<net::SocketAddress>> listen_addresses(const schema::NbdServerConfiguration& configuration);

}  // namespace blockexport::control
