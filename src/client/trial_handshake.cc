#include "client/trial_handshake.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/printable.h"

namespace blockexport::client {
namespace {

constexpr std::string_view kSubject = "handshake";
constexpr int kTurnsMax = 64;  // far more than a handshake needs

// One end of the handshake; `sent` buffers its output for the peer.
struct End {
  std::string sent;
  End* peer = nullptr;
  Session session;
  int status = GNUTLS_E_AGAIN;

  static ssize_t push(gnutls_transport_ptr_t self, const void* bytes, std::size_t count) {
    static_cast<End*>(self)->sent.append(static_cast<const char*>(bytes), count);
    return static_cast<ssize_t>(count);
  }
  static ssize_t pull(gnutls_transport_ptr_t self, void* bytes, std::size_t count) {
    End& end = *static_cast<End*>(self);
    std::string& waiting = end.peer->sent;
    if (waiting.empty()) {
      gnutls_transport_set_errno(end.session.get(), EAGAIN);
      return -1;
    }
    count = std::min(count, waiting.size());
    std::memcpy(bytes, waiting.data(), count);
    waiting.erase(0, count);
    return static_cast<ssize_t>(count);
  }
  static int wait(gnutls_transport_ptr_t, unsigned) { return 1; }

  void begin(unsigned flags, const char* priority) {
    gnutls_session_t made = nullptr;
    if (gnutls_init(&made, flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) std::abort();
    session.reset(made);
    gnutls_priority_set_direct(made, priority, nullptr);
    gnutls_transport_set_ptr(made, this);
    gnutls_transport_set_push_function(made, push);
    gnutls_transport_set_pull_function(made, pull);
    gnutls_transport_set_pull_timeout_function(made, wait);
  }
  bool step() {
    if (status == GNUTLS_E_AGAIN || status == GNUTLS_E_INTERRUPTED || status == GNUTLS_E_WARNING_ALERT_RECEIVED) {
      status = gnutls_handshake(session.get());
    }
    return status == 0 || gnutls_error_is_fatal(status) == 0;
  }
};

// Runs the handshake. True when both ends have finished; adds a fault otherwise.
bool shake_hands(End& server, End& client, Findings& findings) {
  server.peer = &client;
  client.peer = &server;
  for (int turn = 0; turn < kTurnsMax && !(server.status == 0 && client.status == 0); ++turn) {
    bool goes_on = client.step() && server.step();
    if (goes_on) continue;
    End& failed = client.status < 0 && gnutls_error_is_fatal(client.status) != 0 ? client : server;
    findings.fault(kSubject, fmt::format("the {} aborts it: {}", &failed == &client ? "client" : "server",
                                         gnutls_strerror(failed.status)));
    return false;
  }
  if (server.status == 0 && client.status == 0) return true;
  findings.fault(kSubject, "does not end");
  return false;
}

// True if `end` accepts the peer's certificates; adds a fault when it does not.
bool accepts_peer(End& end, std::string_view side, std::string_view peer, const char* host, Findings& findings) {
  unsigned verdict = 0;
  int status = gnutls_certificate_verify_peers3(end.session.get(), host, &verdict);
  if (status == 0 && verdict == 0) return true;
  auto reason = text_of([&](gnutls_datum_t* out) {
    return gnutls_certificate_verification_status_print(verdict, GNUTLS_CRT_X509, out, 0);
  });
  std::string text = status < 0 ? std::string(gnutls_strerror(status)) : reason.value_or("");
  while (text.ends_with(' ')) text.pop_back();
  findings.fault(kSubject, fmt::format("the {} refuses the {}: {}", side, peer, text));
  return false;
}

CertificateCredentials make_credentials(const Trust& trust, const OwnCredentials* own, Findings& findings) {
  auto made = net::make_gnutls<CertificateCredentials, gnutls_certificate_allocate_credentials>();
  gnutls_datum_t ca = datum(trust.ca_pem);
  gnutls_certificate_set_x509_trust_mem(made.get(), &ca, GNUTLS_X509_FMT_PEM);
  if (!trust.revocations_pem.empty()) {
    gnutls_datum_t revocations = datum(trust.revocations_pem);
    gnutls_certificate_set_x509_crl_mem(made.get(), &revocations, GNUTLS_X509_FMT_PEM);
  }
  if (own == nullptr) return made;
  gnutls_datum_t certificate = datum(own->certificate_pem);
  gnutls_datum_t key = datum(own->key_pem);
  int status = gnutls_certificate_set_x509_key_mem(made.get(), &certificate, &key, GNUTLS_X509_FMT_PEM);
  if (status < 0) findings.fault(kSubject, fmt::format("certificate and key are refused: {}", gnutls_strerror(status)));
  return made;
}

std::string description_of(const End& end) {
  auto text = gnutls_session_get_desc(end.session.get());
  std::string description = text != nullptr ? text : "done";
  gnutls_free(text);
  return description;
}

}  // namespace

void try_x509(const Trust& trust, const OwnCredentials& server, const OwnCredentials* client, const std::string& host,
              Findings& findings) {
  CertificateCredentials server_credentials = make_credentials(trust, &server, findings);
  CertificateCredentials client_credentials = make_credentials(trust, client, findings);
  if (findings.has_fault(kSubject)) return;
  End server_end;
  End client_end;
  server_end.begin(GNUTLS_SERVER, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2");
  client_end.begin(GNUTLS_CLIENT, "NORMAL");
  gnutls_credentials_set(server_end.session.get(), GNUTLS_CRD_CERTIFICATE, server_credentials.get());
  gnutls_credentials_set(client_end.session.get(), GNUTLS_CRD_CERTIFICATE, client_credentials.get());
  gnutls_certificate_server_set_request(server_end.session.get(),
                                        client != nullptr ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  if (!shake_hands(server_end, client_end, findings)) return;
  if (!accepts_peer(client_end, "client", "server", host.empty() ? nullptr : host.c_str(), findings)) return;
  if (client != nullptr && !accepts_peer(server_end, "server", "client", nullptr, findings)) return;
  std::string who = "a client without a certificate: a server with verify-peer=on, the default, refuses it";
  if (client != nullptr) {
    auto chain = parse_certificates(client->certificate_pem);
    if (chain) who = fmt::format("the server knows the client as '{}'", printable(subject_of(chain->front())));
  }
  findings.fine(kSubject, fmt::format("{}; {}", description_of(server_end), who));
}

void try_psk(const SharedKey& key, Findings& findings) {
  auto server_credentials = net::make_gnutls<PskServerCredentials, gnutls_psk_allocate_server_credentials>();
  auto client_credentials = net::make_gnutls<PskClientCredentials, gnutls_psk_allocate_client_credentials>();
  gnutls_datum_t hex = datum(key.key_hex);
  gnutls_psk_set_client_credentials(client_credentials.get(), key.user.c_str(), &hex, GNUTLS_PSK_KEY_HEX);
  auto find_key = [](gnutls_session_t session, const char* user, gnutls_datum_t* out) -> int {
    const auto* known = static_cast<const SharedKey*>(gnutls_session_get_ptr(session));
    if (known->user != user) return -1;
    gnutls_datum_t text = datum(known->key_hex);
    return gnutls_hex_decode2(&text, out);
  };
  gnutls_psk_set_server_credentials_function(server_credentials.get(), find_key);
  constexpr const char* kPriority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK";
  End server_end;
  End client_end;
  server_end.begin(GNUTLS_SERVER, kPriority);
  client_end.begin(GNUTLS_CLIENT, kPriority);
  gnutls_session_set_ptr(server_end.session.get(), const_cast<SharedKey*>(&key));
  gnutls_credentials_set(server_end.session.get(), GNUTLS_CRD_PSK, server_credentials.get());
  gnutls_credentials_set(client_end.session.get(), GNUTLS_CRD_PSK, client_credentials.get());
  if (!shake_hands(server_end, client_end, findings)) return;
  findings.fine(kSubject, fmt::format("{}; the server knows the client as '{}'", description_of(server_end),
                                      printable(key.user)));
}

}  // namespace blockexport::client
