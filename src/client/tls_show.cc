#include <fmt/format.h>

#include <array>

#include "base/printable.h"
#include "client/credentials.h"
#include "client/holder_choice.h"
#include "client/tls_check.h"
#include "client/tls_files.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kShownBytesMax = 1024;  // limit of a name

std::string purposes_of(const Certificate& certificate) {
  std::vector<std::string> purposes;
  for (unsigned i = 0; i < kCertificatesMax; ++i) {
    std::array<char, 128> purpose;
    std::size_t bytes = purpose.size();
    unsigned critical = 0;
    if (gnutls_x509_crt_get_key_purpose_oid(certificate.get(), i, purpose.data(), &bytes, &critical) < 0) break;
    std::string_view oid = purpose.data();
    purposes.emplace_back(oid == GNUTLS_KP_TLS_WWW_SERVER   ? "TLS server"
                          : oid == GNUTLS_KP_TLS_WWW_CLIENT ? "TLS client"
                                                            : oid);
  }
  return fmt::format("{}", fmt::join(purposes, ", "));
}

std::string show_certificate(std::string_view name, const Certificate& certificate) {
  gnutls_x509_crt_t crt = certificate.get();
  unsigned bits = 0;
  int algorithm = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
  std::string text = fmt::format("{}\n", name);
  auto add = [&text](std::string_view what, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<12} {}\n", what, value);
  };
  add("subject", printable(subject_of(certificate), kShownBytesMax));
  add("issuer", printable(issuer_of(certificate), kShownBytesMax));
  add("names", fmt::format("{}", fmt::join(alternative_names(certificate), ", ")));
  add("valid", fmt::format("{} to {}", date_text(gnutls_x509_crt_get_activation_time(crt)),
                           date_text(gnutls_x509_crt_get_expiration_time(crt))));
  add("key",
      fmt::format("{} {} bits", gnutls_pk_algorithm_get_name(static_cast<gnutls_pk_algorithm_t>(algorithm)), bits));
  add("purpose", purposes_of(certificate));
  add("SHA-256", fingerprint_of(certificate));
  return text;
}

// Shows the certificates of a file, under the name `shown`; does nothing when the file does not exist.
Result<> show_file(const std::string& directory, std::string_view name, std::string_view shown,
                   const RevocationList* revoked, TlsReport& report) {
  TRY_ASSIGN(std::optional<ReadFile> file, read_file(directory, name));
  if (!file) return {};
  auto certificates = parse_certificates(file->text);
  if (!certificates) {
    report.text += fmt::format("{}\n  {}\n", shown, certificates.error().message());
    report.has_fault = true;
    return {};
  }
  for (const Certificate& certificate : *certificates) {
    report.text += show_certificate(shown, certificate);
    if (revoked != nullptr && is_revoked(*revoked, certificate)) {
      report.text += fmt::format("  {:<12} by {}\n", "revoked", kRevocations);
    }
  }
  return {};
}

}  // namespace

Result<TlsReport> tls_show(const std::string& directory) {
  TlsReport report;
  TRY(show_file(directory, kCaCertificate, kCaCertificate, nullptr, report));
  RevocationList revoked;
  if (auto list = read_revocations(directory)) revoked = std::move(*list);
  TRY_ASSIGN(auto holders, list_holders(directory));
  for (const Holder& holder : holders) {
    const std::string name = file_of(holder.side, "cert");
    const std::string shown =
        holder.is_first ? name : fmt::format("{}s/{}/{}", name_of(holder.side), printable(holder.name), name);
    TRY(show_file(holder.directory, name, shown, revoked ? &revoked : nullptr, report));
  }
  TRY_ASSIGN(std::optional<ReadFile> keys, read_file(directory, kKeys));
  if (keys) {
    wipe(keys->text);
    Findings findings;
    report.text += fmt::format("{}\n", kKeys);
    for (SharedKey& key : check_shared_keys(directory, findings)) {
      report.text += fmt::format("  user '{}', key of {} bytes\n", printable(key.user), key.key_hex.size() / 2);
      wipe(key.key_hex);
    }
    report.has_fault = report.has_fault || findings.has_fault(kKeys);
  }
  if (!report.text.empty()) return report;
  return fail(Error(fmt::format("there are no TLS credentials in '{}'", directory))
                  .with_hint(fmt::format("Make some with: blockexport tls init {}", directory)));
}

}  // namespace blockexport::client
