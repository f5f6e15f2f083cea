// ServedClient: a client that uses an export, as queries, events and commands see it.
//
// Listed by its export from its choice of the export until its last request has ended. Thread: the control reactor;
// its counters are stored by the reactor that serves it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aio/threads/data_reactor.h"
#include "export/engine/operation_counters.h"

namespace blockexport::exports {

// Protection of a connection. The names are GnuTLS's, and static text.
struct ClientTls {
  std::string_view version;  // "TLS1.3"
  std::string_view cipher;   // "AES-256-GCM"
};

struct ClientDescription {
  std::uint64_t number = 0;                  // unique in the process
  std::string server = {};                   // id of the server that accepted it
  std::string peer = {};                     // address, or user of a unix socket
  std::string_view peer_group = {};          // its address, network or user: net::describe(PeerGroup)
  std::optional<std::string> identity = {};  // proven over TLS
  std::int64_t since_us = 0;                 // of the connection; microseconds since 1970
  std::optional<ClientTls> tls = {};         // nothing: unprotected
  std::string_view header_mode = {};         // "simple", "structured" or "extended"
  std::vector<std::string> contexts = {};    // names of the chosen meta contexts
  bool is_writable = false;                  // whether it was offered a writable export
};

class ServedClient {
 public:
  const ClientDescription& description() const { return description_; }
  void describe(ClientDescription description) { description_ = std::move(description); }
  ClientCounters& counters() { return counters_; }
  const ClientCounters& counters() const { return counters_; }
  // The reactor that serves it.
  virtual aio::DataReactor& data_reactor() const = 0;
  // Cuts its connection: it gets no more replies. Its running requests end by themselves.
  virtual void disconnect() = 0;

 protected:
  ~ServedClient() = default;

 private:
  ClientDescription description_;
  ClientCounters counters_;
};

class Export;

// Observer of the clients of all exports. Thread: the control reactor.
class ClientObserver {
 public:
  virtual void client_came(const Export& used, const ServedClient& client) = 0;
  // Its requests have ended, and its counters do not change any more.
  virtual void client_went(const Export& used, const ServedClient& client) = 0;

 protected:
  ~ClientObserver() = default;
};

}  // namespace blockexport::exports
