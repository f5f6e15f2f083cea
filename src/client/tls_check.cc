#include "client/tls_check.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "client/credentials.h"
#include "client/holder_choice.h"
#include "client/tls_files.h"
#include "client/trial_handshake.h"

namespace blockexport::client {
namespace {

bool has_file(const std::string& directory, std::string_view name) {
  struct stat status;
  return stat(fmt::format("{}/{}", directory, name).c_str(), &status) == 0;
}

void check_x509(const TlsCheckOptions& options, Findings& findings) {
  const std::string& directory = options.directory;
  std::optional<Trust> trust = check_trust(directory, findings);
  std::optional<OwnCredentials> server;
  std::optional<OwnCredentials> client;
  bool has_server = has_own_credentials(directory, Side::kServer);
  bool has_client = has_own_credentials(directory, Side::kClient);
  const Trust* trusted = trust ? &*trust : nullptr;
  if (has_server) server = check_own(directory, Side::kServer, trusted, findings);
  if (has_client) client = check_own(directory, Side::kClient, trusted, findings);
  if (!has_server && !has_client) {
    findings.warn("client-cert.pem", "there is none: this is for a client that has no certificate");
  }
  bool key_is_open = server && !server->key_pem.empty() && (!client || !client->key_pem.empty());
  // Skipped after any fault, since a handshake without that side would prove nothing.
  if (trust && key_is_open && !findings.has_fault()) {
    try_x509(*trust, *server, client ? &*client : nullptr, options.host, findings);
  }
  if (auto key = read_file(directory, kCaKey); key && *key) {
    check_secret_file(directory, kCaKey, **key, findings);
    wipe((*key)->text);
  }
}

// Checks the holders that `tls add` created, each like its own host does.
Result<> check_added(const std::string& directory, Findings& findings) {
  TRY_ASSIGN(auto holders, list_holders(directory));
  Findings of_trust;
  const std::optional<Trust> trust = check_trust(directory, of_trust);
  RevocationList revoked;
  if (auto list = read_revocations(directory)) revoked = std::move(*list);
  for (const Holder& holder : holders) {
    if (holder.is_first) continue;
    const std::string prefix = fmt::format("{}s/{}/", name_of(holder.side), holder.name);
    ReadFile file;
    if (auto certificate = read_certificate_of(holder, file);
        certificate && revoked && is_revoked(revoked, *certificate)) {
      findings.warn(prefix + file_of(holder.side, "cert"), "was revoked: nobody accepts it");
      continue;
    }
    Findings own;
    check_own(holder.directory, holder.side, trust ? &*trust : nullptr, own);
    findings.add_all(prefix, own);
  }
  return {};
}

}  // namespace

Result<TlsReport> tls_check(const TlsCheckOptions& options) {
  const std::string& directory = options.directory;
  bool has_keys = has_file(directory, kKeys);
  bool has_x509 = has_file(directory, kCaCertificate) || has_own_credentials(directory, Side::kServer) ||
                  has_own_credentials(directory, Side::kClient);
  if (!has_keys && !has_x509) {
    return fail(Error(fmt::format("there are no TLS credentials in '{}'", directory))
                    .with_hint(fmt::format("Make some with: blockexport tls init {}", directory)));
  }
  Findings findings;
  if (has_x509) {
    check_x509(options, findings);
    TRY(check_added(directory, findings));
  }
  if (has_keys) {
    std::vector<SharedKey> keys = check_shared_keys(directory, findings);
    if (!keys.empty() && !findings.has_fault(kKeys)) try_psk(keys.front(), findings);
    for (SharedKey& key : keys) wipe(key.key_hex);
  }
  return TlsReport{.text = findings.text(), .has_fault = findings.has_fault()};
}

}  // namespace blockexport::client
