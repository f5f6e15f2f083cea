// The part of a connection's handshake that is TLS: from the acknowledged STARTTLS to a peer that may come in.

#include <fmt/format.h>

#include "export/nbd/server/connection.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server.h"

namespace blockexport::nbd {
namespace {

// Of an identity that is repeated in the log.
constexpr std::size_t kIdentityShownBytesMax = 1024;

}  // namespace

// Goes on with a new handshake: what was said in clear, by whomever, is forgotten.
aio::Task<IoResult> Connection::start_tls() {
  const ServerTls& tls = *server_.options_.tls;
  auto credentials = tls.credentials->find(tls.credentials_id, net::TlsEndpoint::kServer);
  if (!credentials) {
    log_refusal("tls-creds", credentials.error().message());
    co_return fail(ECONNABORTED);
  }
  auto secured = std::make_unique<net::TlsStream>(std::move(stream_), std::move(*credentials));
  net::TlsStream& stream = *secured;
  stream_ = std::move(secured);
  Result<std::string> identity = co_await stream.handshake(server_.reactor_, deadline_ns_);
  if (!identity) {
    log_refusal("tls-creds", identity.error().message());
    co_return fail(ECONNABORTED);
  }
  identity_ = std::move(*identity);
  CO_TRY(co_await let_in(stream));
  handshake_ = std::make_unique<Handshake>(handshake_->over_tls());
  co_return IoResult{};
}

// Asks the server's authorizer, if it has one, whether the peer may come in.
aio::Task<IoResult> Connection::let_in(net::TlsStream& stream) {
  const ServerTls& tls = *server_.options_.tls;
  if (!tls.authorizer_id) co_return IoResult{};
  authz::Verdict verdict = co_await ask(*tls.authorizer_id);
  if (verdict.allowed) co_return IoResult{};
  log_refusal(verdict.rule, verdict.reason);
  co_await stream.refuse(server_.reactor_);
  co_return fail(EACCES);
}

// Asks the authorizer of the export that the client wants.
aio::Task<void> Connection::authorize_export() {
  std::string name(handshake_->wanted_export());
  NbdExport* wanted = server_.find_export(name);
  // One that is gone by now is not found by the handshake either.
  if (wanted == nullptr || !wanted->tls_authz()) {
    handshake_->authorized(false, "the export has changed");
    co_return;
  }
  authz::Verdict verdict = co_await ask(*wanted->tls_authz());
  if (!verdict.allowed) log_refusal(verdict.rule, verdict.reason, name);
  handshake_->authorized(verdict.allowed, std::move(verdict.reason));
}

// What is refused tells by which authorizer.
aio::Task<authz::Verdict> Connection::ask(std::string authorizer_id) {
  authz::Verdict verdict = co_await authz::authorize(*server_.options_.authorizers, authorizer_id, identity_);
  verdict.rule = fmt::format("{} of tls-authz '{}'", verdict.rule.empty() ? "nothing" : verdict.rule, authorizer_id);
  co_return verdict;
}

void Connection::log_refusal(std::string_view rule, std::string_view reason, std::string_view export_name) {
  std::string wanted = export_name.empty() ? std::string() : fmt::format(" export '{}',", printable(export_name));
  log_.warning(fmt::format("nbd client {} refused:{} identity '{}', rule: {}: {}", peer_, wanted,
                           printable(identity_, kIdentityShownBytesMax), rule,
                           printable(reason, kIdentityShownBytesMax)));
}

}  // namespace blockexport::nbd
