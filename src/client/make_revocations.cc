#include <array>
#include <ctime>

#include "client/signing.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kSerialBytesMax = 64;  // limit of a serial number; RFC 5280 allows 20

void copy_entries(const RevocationList& from, gnutls_x509_crl_t to, Calls& calls) {
  std::array<unsigned char, kSerialBytesMax> serial{};
  for (int i = 0; i < gnutls_x509_crl_get_crt_count(from.get()); ++i) {
    std::size_t bytes = serial.size();
    time_t when = 0;
    calls << gnutls_x509_crl_get_crt_serial(from.get(), static_cast<unsigned>(i), serial.data(), &bytes, &when)
          << gnutls_x509_crl_set_crt_serial(to, serial.data(), bytes, when);
  }
}

}  // namespace

Result<std::string> revoke_certificate(const Identity& ca, const RevocationList* before, const Certificate& revoked) {
  auto list = net::make_gnutls<RevocationList, gnutls_x509_crl_init>();
  gnutls_x509_crl_t crl = list.get();
  const std::int64_t now = std::time(nullptr);
  const std::int64_t begin = now - kBackdatedSeconds;
  Calls calls;
  calls << gnutls_x509_crl_set_version(crl, 2) << gnutls_x509_crl_set_this_update(crl, begin)
        << gnutls_x509_crl_set_next_update(crl, gnutls_x509_crt_get_expiration_time(ca.certificate.get()));
  if (before != nullptr) copy_entries(*before, crl, calls);
  calls << gnutls_x509_crl_set_crt(crl, revoked.get(), now);
  // The CRL number is the current time, so that it grows whatever number the earlier list has.
  std::array<unsigned char, 8> number{};
  for (std::size_t i = 0; i < number.size(); ++i) {
    number[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(now) >> (8 * (number.size() - 1 - i)));
  }
  std::array<unsigned char, 64> ca_key_id{};
  std::size_t ca_key_id_bytes = ca_key_id.size();
  if (gnutls_x509_crt_get_subject_key_id(ca.certificate.get(), ca_key_id.data(), &ca_key_id_bytes, nullptr) >= 0) {
    calls << gnutls_x509_crl_set_authority_key_id(crl, ca_key_id.data(), ca_key_id_bytes);
  }
  calls << gnutls_x509_crl_set_number(crl, number.data(), number.size())
        << gnutls_x509_crl_sign2(crl, ca.certificate.get(), ca.key.get(), digest_of(ca), 0);
  TRY(calls.result("a revocation list"));
  return text_of([&](gnutls_datum_t* out) { return gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, out); });
}

bool is_revoked(const RevocationList& list, const Certificate& certificate) {
  gnutls_x509_crl_t crl = list.get();
  return gnutls_x509_crt_check_revocation(certificate.get(), &crl, 1) == 1;
}

Result<RevocationList> parse_revocations(const std::string& pem) {
  auto list = net::make_gnutls<RevocationList, gnutls_x509_crl_init>();
  const gnutls_datum_t text = datum(pem);
  const int status = gnutls_x509_crl_import(list.get(), &text, GNUTLS_X509_FMT_PEM);
  if (status < 0) return fail(fmt::format("is no revocation list: {}", gnutls_strerror(status)));
  return list;
}

}  // namespace blockexport::client
