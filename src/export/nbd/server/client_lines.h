// Log lines about the coming, the refusal and the going of a client, with their structured fields: docs/log.md. They
// share the rate limits of their PeerLog. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/peer_log.h"
#include "export/engine/session_states.h"

namespace blockexport::nbd {

// Texts of the caller.
struct ClientNames {
  std::string_view name;      // as client_text() makes it
  std::string_view peer;      // "127.0.0.1:40112 #7": its address, and its number
  std::string_view identity;  // proven over TLS; empty without
  std::string_view export_id;
};

// The end of a client's session.
struct ClientEnd {
  exports::Ending ending = exports::Ending::kOpen;
  std::uint64_t duration_ns = 0;  // since it chose its export
  std::uint64_t requests = 0;     // that were answered, failed ones included
  std::uint64_t bytes = 0;        // of those that succeeded
};

// " of server 'backup'": the words that follow a client or an address in a text; empty for the default server.
std::string of_server(std::string_view server_id);
// "127.0.0.1:40112 #7 of server 'backup'": the client `peer` of a server, for texts.
std::string client_text(std::string_view peer, std::string_view server_id);

void tell_client_connected(const PeerLog& log, const ClientNames& client);
void tell_client_refused(const PeerLog& log, const ClientNames& client, std::string_view reason);
void tell_client_left(const PeerLog& log, const ClientNames& client, const ClientEnd& end);
// Logs `message`, which names the client and says why it was refused, as a warning with the fields of a refusal.
void warn_of_client(const PeerLog& log, const ClientNames& client, std::string_view message, std::string_view reason);

}  // namespace blockexport::nbd
