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
#include "export/nbd/server/handshake_table.h"
#include "net/socket_stream.h"
#include "net/tls_stream.h"

namespace blockexport::nbd {

class ServerState;

class Connection : public HandshakeTable::Slot {
 public:
  // `peer` names the client in log lines; `peer_group` is the group whose share of handshakes and log lines it uses.
  Connection(ServerState& server, std::unique_ptr<net::Stream> stream, std::string peer, net::PeerGroup peer_group);
  ~Connection();

  aio::Task<void> run();
  // Cuts the connection if it is in its handshake.
  void drop();
  // Time at which its handshake must have ended.
  std::uint64_t deadline_ns() const { return deadline_ns_; }

 private:
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

  ServerState& server_;
  const PeerLog log_;
  std::unique_ptr<net::Stream> stream_;
  std::string peer_;
  std::uint64_t deadline_ns_;
  std::unique_ptr<Handshake> handshake_;
  std::string identity_;                    // proven over TLS
  std::map<std::string, bool> listed_for_;  // during LIST: the decision of each authorizer
  std::optional<Refusal> export_refusal_;
  std::vector<std::byte> input_;       // received and not consumed
  std::uint32_t work_ = 0;             // steps of its handshake
  std::uint64_t chosen_sequence_ = 0;  // of the chosen export
  bool has_slot_ = false;
};

}  // namespace blockexport::nbd
