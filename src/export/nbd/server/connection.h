// Connection: one client of the server, from accept to close: a handshake, then a transmission. Lives in the frame of
// its task. Thread: the control reactor; the transmission runs on the reactor that the export or the server assigns to
// the client.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "authz/authorizer.h"
#include "base/peer_log.h"
#include "export/nbd/handshake/handshake.h"
#include "export/nbd/server/client_lines.h"
#include "export/nbd/server/handshake_table.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/placed_transmission.h"
#include "export/nbd/server/server_counters.h"
#include "export/nbd/server/server_state.h"
#include "export/served_client.h"
#include "net/socket_stream.h"
#include "net/tls_stream.h"

namespace blockexport::nbd {

class Connection : public HandshakeTable::Slot {
 public:
  // `peer` names the client in log lines; `peer_group` is the group whose share of handshakes and log lines it uses;
  // `number` is unique in the process.
  Connection(ServerState& server, std::unique_ptr<net::Stream> stream, std::string_view peer, net::PeerGroup peer_group,
             std::uint64_t number);
  ~Connection();

  aio::Task<void> run();
  // Cuts the connection, which is in its handshake, and counts the failure as `failure`. `reason`: static text for the
  // log.
  void drop(HandshakeFailure failure, std::string_view reason);

 private:
  void tell_end_of_handshake(Errno error);
  // "127.0.0.1:40112 #7"
  std::string_view peer() const { return std::string_view(name_).substr(0, peer_bytes_); }
  ClientNames names(std::string_view export_id = {}) const;
  std::optional<std::string> ban() const;
  bool refuse_banned();
  aio::Task<IoResult> negotiate();
  aio::Task<IoResult> receive();
  aio::Task<IoResult> give_turn();
  aio::Task<IoResult> start_tls();
  // A refusal that is logged after the client got its reply.
  struct Refusal {
    std::string rule;
    std::string reason;
    std::string export_name;
  };
  bool authorize_from_list();
  aio::Task<void> authorize_export();
  void log_export_refusal();
  aio::Task<authz::Verdict> ask(std::string authorizer_id);
  aio::Task<IoResult> let_in(net::TlsStream& stream);
  void log_refusal(std::string_view rule, std::string_view reason, std::string_view export_name = {});
  aio::Task<IoResult> take_slot();
  aio::Task<void> cancel_when_gone(aio::TaskRoot& task);
  aio::Task<void> transmit();
  void count_failure();
  exports::ClientDescription describe_client(const SessionState& state) const;
  NbdExport* chosen_export() const;
  TransmissionContext context(NbdExport& serving, aio::DataReactor& placed) const;
  bool enter(PlacedTransmission& client, NbdExport& serving, const SessionState& state);
  aio::Task<void> serve(PlacedTransmission& client);
  void leave(PlacedTransmission& client, NbdExport& serving, std::uint64_t since_ns);

  ServerState& server_;
  const PeerLog log_;
  std::unique_ptr<net::Stream> stream_;
  const std::string name_;  // client_text()
  const std::size_t peer_bytes_;
  // The server's at the time of the connection: a change of the options concerns later clients.
  const std::optional<ServerTls> tls_;
  const std::uint64_t deadline_ns_;
  std::unique_ptr<Handshake> handshake_;
  std::string identity_;  // proven over TLS
  std::optional<exports::ClientTls> tls_session_;
  std::optional<HandshakeFailure> failure_;
  const std::uint64_t number_;
  const std::int64_t since_us_;
  std::map<std::string, bool> listed_for_;  // during LIST: the decision of each authorizer
  std::optional<Refusal> export_refusal_;
  std::vector<std::byte> input_;       // received and not consumed
  std::uint32_t work_ = 0;             // steps of its handshake
  std::uint64_t chosen_sequence_ = 0;  // of the chosen export
  bool has_slot_ = false;
  std::string_view drop_reason_;  // empty: it was not dropped
  bool is_refusal_logged_ = false;
};

}  // namespace blockexport::nbd
