#include "net/tls_x509_credentials.h"

#include <fmt/format.h>

#include <array>

#include "net/tls_certificate_check.h"
#include "net/tls_dh_parameters.h"
#include "net/tls_files.h"
#include "net/tls_priority.h"

namespace blockexport::net {
namespace {

gnutls_datum_t datum_of(const CredentialFile& file) {
  return {.data = reinterpret_cast<unsigned char*>(const_cast<char*>(file.content.c_str())),
          .size = static_cast<unsigned>(file.content.size())};
}

int alert_of(unsigned status) {
  if ((status & GNUTLS_CERT_REVOKED) != 0) return GNUTLS_A_CERTIFICATE_REVOKED;
  if ((status & GNUTLS_CERT_EXPIRED) != 0) return GNUTLS_A_CERTIFICATE_EXPIRED;
  if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0) return GNUTLS_A_UNKNOWN_CA;
  if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0) return GNUTLS_A_UNSUPPORTED_CERTIFICATE;
  return GNUTLS_A_BAD_CERTIFICATE;
}

// The subject in one line, in the certificate's order, which authorization rules match.
std::expected<std::string, TlsRefusal> subject_of(const gnutls_datum_t& der) {
  auto certificate = make_gnutls<GnutlsCertificate, gnutls_x509_crt_init>();
  std::string subject(1024, '\0');
  std::size_t size = subject.size();
  int outcome = gnutls_x509_crt_import(certificate.get(), &der, GNUTLS_X509_FMT_DER);
  if (outcome >= 0) {
    outcome = gnutls_x509_crt_get_dn(certificate.get(), subject.data(), &size);
    if (outcome == GNUTLS_E_SHORT_MEMORY_BUFFER) {
      subject.resize(size);
      outcome = gnutls_x509_crt_get_dn(certificate.get(), subject.data(), &size);
    }
  }
  if (outcome < 0) {
    return std::unexpected(TlsRefusal{
        .reason = fmt::format("Cannot read the subject of the peer's certificate: {}", gnutls_strerror(outcome)),
        .alert = GNUTLS_A_BAD_CERTIFICATE});
  }
  subject.resize(std::min(subject.size(), subject.find('\0')));
  return subject;
}

}  // namespace

struct TlsX509Credentials::Files {
  CredentialFile authorities;
  std::optional<CredentialFile> revoked;
  std::optional<CredentialFile> certificate;
  std::optional<CredentialFile> key;
  std::optional<CredentialFile> dh_parameters;

  template <class Use>
  void for_each(Use use) const {
    use(authorities);
    for (const auto* file : {&revoked, &certificate, &key, &dh_parameters}) {
      if (*file) use(**file);
    }
  }

  static Result<Files> read(const TlsX509Options& options) {
    const bool server = options.endpoint == TlsEndpoint::kServer;
    const auto file = [&options](std::string_view name, FileSecrecy secrecy = FileSecrecy::kPublic) {
      return CredentialFileRequest{
          .directory = options.directory, .name = name, .secrecy = secrecy, .is_strict = options.strict_modes};
    };
    Files files;
    TRY_ASSIGN(files.authorities, read_credential_file(file("ca-cert.pem")));
    TRY_ASSIGN(files.revoked, read_optional_file(file("ca-crl.pem")));
    if (server) {
      TRY_ASSIGN(files.certificate, read_credential_file(file("server-cert.pem")));
      TRY_ASSIGN(files.key, read_credential_file(file("server-key.pem", FileSecrecy::kPrivate)));
      TRY_ASSIGN(files.dh_parameters, read_optional_file(file(kDhParametersFile)));
    } else {
      TRY_ASSIGN(files.certificate, read_optional_file(file("client-cert.pem")));
      TRY_ASSIGN(files.key, read_optional_file(file("client-key.pem", FileSecrecy::kPrivate)));
    }
    return files;
  }
};

Result<TlsCredentialsReference> TlsX509Credentials::load(const TlsX509Options& options) {
  TRY_ASSIGN(Files files, Files::read(options));
  const OwnCertificates own{.endpoint = options.endpoint,
                            .path = files.certificate ? std::string_view(files.certificate->path) : std::string_view(),
                            .pem = files.certificate ? files.certificate->content.text() : std::string_view(),
                            .authorities_path = files.authorities.path,
                            .authorities_pem = files.authorities.content.text()};
  if (options.sanity_check) TRY(check_certificates(own));
  std::shared_ptr<TlsX509Credentials> credentials(new TlsX509Credentials(options.endpoint));
  TRY(credentials->take(files, options));
  files.for_each([&](const CredentialFile& file) { credentials->note_exposure(file.path, file.exposure); });
  credentials->expiries_ = expiries_of(own);
  return credentials;
}

Result<> TlsX509Credentials::take(const Files& files, const TlsX509Options& options) {
  verify_peer_ = options.verify_peer;
  certificates_ = make_gnutls<GnutlsCertificates, gnutls_certificate_allocate_credentials>();
  const gnutls_datum_t authorities = datum_of(files.authorities);
  int outcome = gnutls_certificate_set_x509_trust_mem(certificates_.get(), &authorities, GNUTLS_X509_FMT_PEM);
  if (outcome < 0) {
    return fail(fmt::format("Cannot load CA certificate '{}': {}", files.authorities.path, gnutls_strerror(outcome)));
  }
  if (files.certificate && files.key) TRY(take_key(files, options.password));
  if (files.revoked) {
    const gnutls_datum_t revoked = datum_of(*files.revoked);
    outcome = gnutls_certificate_set_x509_crl_mem(certificates_.get(), &revoked, GNUTLS_X509_FMT_PEM);
    if (outcome < 0) {
      return fail(fmt::format("Cannot load CRL '{}': {}", files.revoked->path, gnutls_strerror(outcome)));
    }
  }
  if (files.dh_parameters) {
    TRY_ASSIGN(dh_parameters_, read_dh_parameters(*files.dh_parameters));
    gnutls_certificate_set_dh_params(certificates_.get(), dh_parameters_.get());
  } else {
    gnutls_certificate_set_known_dh_params(certificates_.get(), GNUTLS_SEC_PARAM_MEDIUM);
  }
  TRY_ASSIGN(priority_, make_priority(options.priority, "", kCertificatePriority));
  return {};
}

Result<> TlsX509Credentials::take_key(const Files& files, const SecretBytes* password) {
  const gnutls_datum_t certificate = datum_of(*files.certificate);
  const gnutls_datum_t key = datum_of(*files.key);
  const char* text = nullptr;
  if (password != nullptr) text = password->empty() ? "" : password->c_str();
  const int outcome =
      gnutls_certificate_set_x509_key_mem2(certificates_.get(), &certificate, &key, GNUTLS_X509_FMT_PEM, text, 0);
  if (outcome >= 0) return {};
  return fail(fmt::format("Cannot load certificate '{}' & key '{}': {}", files.certificate->path, files.key->path,
                          gnutls_strerror(outcome)));
}

Result<> TlsX509Credentials::attach(gnutls_session_int* session) const {
  int outcome = gnutls_priority_set(session, priority_.get());
  if (outcome >= 0) outcome = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, certificates_.get());
  if (outcome < 0) return fail(fmt::format("Cannot set session credentials: {}", gnutls_strerror(outcome)));
  if (endpoint() == TlsEndpoint::kServer && verify_peer_) {
    // Only requested here; check_peer() requires it, where we can give a reason.
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
  }
  return {};
}

std::expected<std::string, TlsRefusal> TlsX509Credentials::check_peer(gnutls_session_int* session,
                                                                      const std::string& host) const {
  if (!verify_peer_) return std::string();
  unsigned count = 0;
  const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
  if (chain == nullptr || count == 0) {
    return std::unexpected(TlsRefusal{.reason = "No certificate was found.", .alert = GNUTLS_A_CERTIFICATE_REQUIRED});
  }
  const bool server = endpoint() == TlsEndpoint::kServer;
  const char* purpose = server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
  std::array<gnutls_typed_vdata_st, 2> wanted{
      {{.type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = reinterpret_cast<unsigned char*>(const_cast<char*>(purpose)),
        .size = 0},
       {.type = GNUTLS_DT_DNS_HOSTNAME,
        .data = reinterpret_cast<unsigned char*>(const_cast<char*>(host.c_str())),
        .size = 0}}};
  unsigned status = 0;
  const int outcome = gnutls_certificate_verify_peers(session, wanted.data(), host.empty() ? 1 : 2, &status);
  if (outcome < 0) {
    return std::unexpected(TlsRefusal{.reason = gnutls_strerror(outcome), .alert = GNUTLS_A_BAD_CERTIFICATE});
  }
  if (status != 0) return std::unexpected(TlsRefusal{.reason = describe_status(status), .alert = alert_of(status)});
  return subject_of(chain[0]);
}

}  // namespace blockexport::net
