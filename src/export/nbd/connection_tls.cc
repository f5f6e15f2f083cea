// The part of a connection's handshake that is TLS: from the acknowledged STARTTLS to a peer that may come in.

#include <fmt/format.h>

#include "export/nbd/connection.h"
#include "export/nbd/server.h"

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
  authz::Verdict verdict = co_await authz::authorize(*tls.authorizers, *tls.authorizer_id, identity_);
  if (verdict.allowed) co_return IoResult{};
  log_refusal(fmt::format("{} of tls-authz '{}'", verdict.rule.empty() ? "nothing" : verdict.rule, *tls.authorizer_id),
              verdict.reason);
  co_await stream.refuse(server_.reactor_);
  co_return fail(EACCES);
}

void Connection::log_refusal(std::string_view rule, std::string_view reason) {
  server_.log_.warning(fmt::format("nbd client {} refused: identity '{}', rule: {}: {}", peer_,
                                   printable(identity_, kIdentityShownBytesMax), rule,
                                   printable(reason, kIdentityShownBytesMax)));
}

}  // namespace blockexport::nbd
