#include "export/nbd/server/client_lines.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/printable.h"
#include "export/nbd/server/server_state.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;

// The kinds of lines, and the identifiers under which a journal finds them (journalctl MESSAGE_ID=...).
struct ClientEvent {
  std::string_view name;
  std::string_view message_id;
};
constexpr ClientEvent kConnected{"client-connected", "5b1c0c3f0f7b4b5f9d1a6a2b8e0f4c71"};
constexpr ClientEvent kRefused{"client-refused", "d0f6a3c7e2984a0b8c5e1f7d9b3a6e24"};
constexpr ClientEvent kLeft{"client-left", "8e4d2b9a7c6f4e1db3a05f8c1d7e9b60"};

std::string_view reason_of(exports::Ending ending) {
  switch (ending) {
    case exports::Ending::kOpen:
    case exports::Ending::kClientLeft:
      return "the client ended the connection";
    case exports::Ending::kFinishing:
      return "the server stops";
    case exports::Ending::kSuspended:
      return "the session continues elsewhere";
    case exports::Ending::kLost:
      return "the connection failed";
    case exports::Ending::kDropped:
      return "the export was removed, or an administrator disconnected the client";
  }
  __builtin_unreachable();
}

// Fields of an event about `client`; empty ones are left out. The texts outlive it.
std::vector<LogField> fields_of(const ClientEvent& event, const ClientNames& client, std::string_view reason) {
  const std::size_t end_of_peer = client.peer.rfind(" #");
  const bool has_number = end_of_peer != std::string_view::npos;
  std::vector<LogField> fields{{.name = "event", .value = event.name},
                               {.name = "message_id", .value = event.message_id}};
  if (has_number) fields.push_back({.name = "client", .value = client.peer.substr(end_of_peer + 2), .is_number = true});
  fields.push_back({.name = "peer", .value = client.peer.substr(0, end_of_peer)});
  if (!client.export_id.empty()) fields.push_back({.name = "export", .value = client.export_id});
  if (!client.identity.empty()) fields.push_back({.name = "identity", .value = client.identity});
  if (!reason.empty()) fields.push_back({.name = "reason", .value = reason});
  return fields;
}

std::string who(const ClientNames& client) {
  if (client.identity.empty()) return fmt::format("nbd client {}", client.name);
  return fmt::format("nbd client {} ({})", client.name, printable(client.identity, client.identity.size()));
}

}  // namespace

std::string of_server(std::string_view server_id) {
  return server_id == kDefaultServerId ? std::string() : fmt::format(" of server '{}'", server_id);
}

std::string client_text(std::string_view peer, std::string_view server_id) {
  return fmt::format("{}{}", peer, of_server(server_id));
}

void tell_client_connected(const PeerLog& log, const ClientNames& client) {
  if (!log.tells_of_clients()) return;
  log.tell(fmt::format("{} connected to export '{}'", who(client), client.export_id),
           fields_of(kConnected, client, {}));
}

void tell_client_refused(const PeerLog& log, const ClientNames& client, std::string_view reason) {
  if (!log.tells_of_clients()) return;
  log.tell(fmt::format("{} refused: {}", who(client), reason), fields_of(kRefused, client, reason));
}

void tell_client_left(const PeerLog& log, const ClientNames& client, const ClientEnd& end) {
  if (!log.tells_of_clients()) return;
  const std::string_view reason = reason_of(end.ending);
  const std::string duration_ms = fmt::format("{}", end.duration_ns / kNanosecondsPerMillisecond);
  const std::string requests = fmt::format("{}", end.requests);
  const std::string bytes = fmt::format("{}", end.bytes);
  std::vector<LogField> fields = fields_of(kLeft, client, reason);
  fields.push_back({.name = "duration_ms", .value = duration_ms, .is_number = true});
  fields.push_back({.name = "requests", .value = requests, .is_number = true});
  fields.push_back({.name = "bytes", .value = bytes, .is_number = true});
  log.tell(fmt::format("{} left export '{}' after {} ms, {} requests, {} bytes: {}", who(client), client.export_id,
                       duration_ms, requests, bytes, reason),
           fields);
}

void warn_of_client(const PeerLog& log, const ClientNames& client, std::string_view message, std::string_view reason) {
  log.warning(message, fields_of(kRefused, client, reason));
}

}  // namespace blockexport::nbd
