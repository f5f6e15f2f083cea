// Replacement for tls.cc in a build without GnuTLS: a request for TLS is fatal.
#include "common/fatal.h"
#include "common/tls.h"

namespace blockexport::bench {

struct TlsLink::State {};

namespace {

[[noreturn]] void refuse() {
  fatal("built without GnuTLS, so without TLS");
}

}  // namespace

std::shared_ptr<const TlsCredentials> TlsCredentials::load(TlsSide, TlsKind, const std::string&, const std::string&) {
  refuse();
}

TlsLink::TlsLink(int, const TlsCredentials&) {
  refuse();
}
TlsLink::~TlsLink() = default;

bool TlsLink::handshake() {
  refuse();
}
std::string TlsLink::cipher() const {
  refuse();
}
ssize_t TlsLink::receive(std::span<std::byte>, bool) {
  refuse();
}
bool TlsLink::holds_more() const {
  refuse();
}
void TlsLink::encrypt(std::span<const iovec>) {
  refuse();
}
void TlsLink::encrypt_apart(std::span<const iovec>) {
  refuse();
}
bool TlsLink::send_some(bool) {
  refuse();
}
void TlsLink::send_close_notify() {
  refuse();
}
bool TlsLink::has_unsent() const {
  refuse();
}

}  // namespace blockexport::bench
