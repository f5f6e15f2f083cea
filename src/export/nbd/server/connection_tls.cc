// TLS in a connection's handshake: from the acknowledged STARTTLS to an authorized peer.

#include <fmt/format.h>

#include "export/nbd/server/connection.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server_state.h"

namespace blockexport::nbd {

// Continues with a new handshake, which drops the state of the clear messages: anybody could have sent them.
aio::Task<IoResult> Connection::start_tls() {
  const ServerTls& tls = *tls_;
  auto credentials = tls.credentials->find(tls.credentials_id, net::TlsEndpoint::kServer);
  // For each early end below, unless a limit has ended the connection.
  if (!failure_) failure_ = HandshakeFailure::kTls;
  if (!credentials) {
    log_refusal("tls-creds", credentials.error().message());
    co_return fail(ECONNABORTED);
  }
  auto secured = std::make_unique<net::TlsStream>(std::move(stream_), std::move(*credentials));
  net::TlsStream& stream = *secured;
  stream_ = std::move(secured);
  Result<std::string> identity = co_await stream.handshake(server_.reactor, deadline_ns_, &server_.tls_handshakes);
  if (!identity) {
    if (stream.ended_by() == net::TlsEnd::kUs) {
      log_refusal("tls-creds", identity.error().message());
    } else {
      is_refusal_logged_ = true;
      warn_of_client(log_, names(), stream.describe_end(fmt::format("nbd client {}", name_), identity.error()),
                     identity.error().message());
    }
    co_return fail(ECONNABORTED);
  }
  stream.report_alerts(log_, fmt::format("nbd client {}", name_));
  identity_ = std::move(*identity);
  const net::TlsSession session = stream.session();
  tls_session_ = exports::ClientTls{.version = session.version, .cipher = session.cipher};
  ++server_.counters.tls_handshakes[{tls.credentials_id, std::string(session.version), std::string(session.cipher)}];
  if (failure_ == HandshakeFailure::kTls) failure_ = HandshakeFailure::kRefused;
  CO_TRY(co_await let_in(stream));
  if (failure_ == HandshakeFailure::kRefused) failure_.reset();
  handshake_ = std::make_unique<Handshake>(handshake_->over_tls());
  co_return IoResult{};
}

// Asks the server's authorizer, if there is one, whether the peer may connect.
aio::Task<IoResult> Connection::let_in(net::TlsStream& stream) {
  const ServerTls& tls = *tls_;
  if (!tls.authorizer_id) co_return IoResult{};
  authz::Verdict verdict = co_await ask(*tls.authorizer_id);
  if (verdict.allowed) co_return IoResult{};
  log_refusal(verdict.rule, verdict.reason);
  co_await stream.refuse(server_.reactor);
  co_return fail(EACCES);
}

// Uses the earlier decision of the same authorizer about the export that LIST has reached: one query serves all its
// exports.
bool Connection::authorize_from_list() {
  if (!handshake_->is_listing()) return false;
  const NbdExport* listed = NbdExport::of(server_.find(handshake_->wanted_export()));
  if (listed == nullptr || !listed->tls_authz()) return false;
  const auto known = listed_for_.find(*listed->tls_authz());
  if (known == listed_for_.end()) return false;
  handshake_->authorized(known->second);
  return true;
}

// Asks the authorizer of the export that the client wants, or that LIST has reached.
aio::Task<void> Connection::authorize_export() {
  std::string name(handshake_->wanted_export());
  const NbdExport* wanted = NbdExport::of(server_.find(name));
  // If the export was removed meanwhile, the handshake does not find it either.
  if (wanted == nullptr || !wanted->tls_authz()) {
    handshake_->authorized(false);
    co_return;
  }
  std::string authorizer_id = *wanted->tls_authz();
  authz::Verdict verdict = co_await ask(authorizer_id);
  handshake_->authorized(verdict.allowed);
  if (handshake_->is_listing()) listed_for_.emplace(std::move(authorizer_id), verdict.allowed);
  // The client has not named an export that LIST reaches, so hiding it is no refusal.
  if (verdict.allowed || handshake_->is_listing()) co_return;
  export_refusal_ =
      Refusal{.rule = std::move(verdict.rule), .reason = std::move(verdict.reason), .export_name = std::move(name)};
}

// Runs after the reply: otherwise the time of logging would show a client that measures it that the export exists.
void Connection::log_export_refusal() {
  if (!export_refusal_) return;
  log_refusal(export_refusal_->rule, export_refusal_->reason, export_refusal_->export_name);
  export_refusal_.reset();
}

// A refusal names its authorizer.
aio::Task<authz::Verdict> Connection::ask(std::string authorizer_id) {
  authz::Verdict verdict = co_await authz::authorize(*server_.options.authorizers, authorizer_id, identity_);
  verdict.rule = fmt::format("{} of tls-authz '{}'", verdict.rule.empty() ? "nothing" : verdict.rule, authorizer_id);
  co_return verdict;
}

void Connection::log_refusal(std::string_view rule, std::string_view reason, std::string_view export_name) {
  std::string wanted = export_name.empty() ? std::string() : fmt::format(" export '{}',", printable(export_name));
  // Bytes that are not UTF-8 become question marks, as in every text with a client's bytes.
  const std::string why =
      authz::describe_refusal(printable(identity_, identity_.size()), rule, printable(reason, reason.size()));
  is_refusal_logged_ = true;
  warn_of_client(log_, names(), fmt::format("nbd client {} refused:{} {}", name_, wanted, why), why);
}

}  // namespace blockexport::nbd
