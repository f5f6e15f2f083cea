// The part of a connection's handshake that is TLS: from the acknowledged STARTTLS to a peer that may come in.

#include <fmt/format.h>

#include "export/nbd/server/connection.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server_state.h"

namespace blockexport::nbd {

// Goes on with a new handshake: what was said in clear, by whomever, is forgotten.
aio::Task<IoResult> Connection::start_tls() {
  const ServerTls& tls = *server_.options.tls;
  auto credentials = tls.credentials->find(tls.credentials_id, net::TlsEndpoint::kServer);
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
      log_.warning(stream.describe_end(fmt::format("nbd client {}", peer_), identity.error()));
    }
    co_return fail(ECONNABORTED);
  }
  stream.report_alerts(log_, fmt::format("nbd client {}", peer_));
  identity_ = std::move(*identity);
  CO_TRY(co_await let_in(stream));
  handshake_ = std::make_unique<Handshake>(handshake_->over_tls());
  co_return IoResult{};
}

// Asks the server's authorizer, if it has one, whether the peer may come in.
aio::Task<IoResult> Connection::let_in(net::TlsStream& stream) {
  const ServerTls& tls = *server_.options.tls;
  if (!tls.authorizer_id) co_return IoResult{};
  authz::Verdict verdict = co_await ask(*tls.authorizer_id);
  if (verdict.allowed) co_return IoResult{};
  log_refusal(verdict.rule, verdict.reason);
  co_await stream.refuse(server_.reactor);
  co_return fail(EACCES);
}

// What is known already about an export that the list has come to: exports of one authorizer need one question.
bool Connection::authorize_from_list() {
  if (!handshake_->is_listing()) return false;
  const NbdExport* listed = NbdExport::of(server_.find(handshake_->wanted_export()));
  if (listed == nullptr || !listed->tls_authz()) return false;
  const auto known = listed_for_.find(*listed->tls_authz());
  if (known == listed_for_.end()) return false;
  handshake_->authorized(known->second);
  return true;
}

// Asks the authorizer of the export that the client wants, or that its list has come to.
aio::Task<void> Connection::authorize_export() {
  std::string name(handshake_->wanted_export());
  const NbdExport* wanted = NbdExport::of(server_.find(name));
  // One that is gone by now is not found by the handshake either.
  if (wanted == nullptr || !wanted->tls_authz()) {
    handshake_->authorized(false);
    co_return;
  }
  std::string authorizer_id = *wanted->tls_authz();
  authz::Verdict verdict = co_await ask(authorizer_id);
  handshake_->authorized(verdict.allowed);
  if (handshake_->is_listing()) listed_for_.emplace(std::move(authorizer_id), verdict.allowed);
  // What the client has not named it was not refused either.
  if (verdict.allowed || handshake_->is_listing()) co_return;
  export_refusal_ =
      Refusal{.rule = std::move(verdict.rule), .reason = std::move(verdict.reason), .export_name = std::move(name)};
}

// Behind the answer: a client that measures time does not learn from the work of logging that an export exists.
void Connection::log_export_refusal() {
  if (!export_refusal_) return;
  log_refusal(export_refusal_->rule, export_refusal_->reason, export_refusal_->export_name);
  export_refusal_.reset();
}

// What is refused tells by which authorizer.
aio::Task<authz::Verdict> Connection::ask(std::string authorizer_id) {
  authz::Verdict verdict = co_await authz::authorize(*server_.options.authorizers, authorizer_id, identity_);
  verdict.rule = fmt::format("{} of tls-authz '{}'", verdict.rule.empty() ? "nothing" : verdict.rule, authorizer_id);
  co_return verdict;
}

void Connection::log_refusal(std::string_view rule, std::string_view reason, std::string_view export_name) {
  std::string wanted = export_name.empty() ? std::string() : fmt::format(" export '{}',", printable(export_name));
  // What is no UTF-8 is a question mark, as in all that is said of a client's bytes.
  log_.warning(fmt::format(
      "nbd client {} refused:{} {}", peer_, wanted,
      authz::describe_refusal(printable(identity_, identity_.size()), rule, printable(reason, reason.size()))));
}

}  // namespace blockexport::nbd
