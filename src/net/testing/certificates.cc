#include "net/testing/certificates.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <sstream>

#include "net/gnutls_handles.h"

namespace blockexport::net::testing {
namespace {

using Key = GnutlsHandle<gnutls_x509_privkey_t, gnutls_x509_privkey_deinit>;
using RevocationList = GnutlsHandle<gnutls_x509_crl_t, gnutls_x509_crl_deinit>;

gnutls_datum_t datum_of(const std::string& text) {
  return {.data = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          .size = static_cast<unsigned>(text.size())};
}

void expect_done(int outcome) {
  EXPECT_GE(outcome, 0) << gnutls_strerror(outcome);
}

std::string pem_of(gnutls_datum_t data) {
  std::string text(reinterpret_cast<char*>(data.data), data.size);
  gnutls_free(data.data);
  return text;
}

Key make_key() {
  auto key = make_gnutls<Key, gnutls_x509_privkey_init>();
  expect_done(
      gnutls_x509_privkey_generate(key.get(), GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
  return key;
}

std::string export_key(const Key& key, const std::string& password) {
  gnutls_datum_t data{};
  expect_done(
      gnutls_x509_privkey_export2_pkcs8(key.get(), GNUTLS_X509_FMT_PEM, password.empty() ? nullptr : password.c_str(),
                                        password.empty() ? GNUTLS_PKCS_PLAIN : GNUTLS_PKCS_PBES2_AES_256, &data));
  return pem_of(data);
}

Key import_key(const std::string& pem) {
  auto key = make_gnutls<Key, gnutls_x509_privkey_init>();
  gnutls_datum_t data = datum_of(pem);
  expect_done(gnutls_x509_privkey_import(key.get(), &data, GNUTLS_X509_FMT_PEM));
  return key;
}

GnutlsCertificate import_certificate(const std::string& pem) {
  auto certificate = make_gnutls<GnutlsCertificate, gnutls_x509_crt_init>();
  gnutls_datum_t data = datum_of(pem);
  expect_done(gnutls_x509_crt_import(certificate.get(), &data, GNUTLS_X509_FMT_PEM));
  return certificate;
}

GnutlsCertificate make_unsigned(const CertificateShape& shape, const Key& key, int serial) {
  auto certificate = make_gnutls<GnutlsCertificate, gnutls_x509_crt_init>();
  gnutls_x509_crt_t one = certificate.get();
  expect_done(gnutls_x509_crt_set_version(one, 3));
  const unsigned char number = static_cast<unsigned char>(serial);
  expect_done(gnutls_x509_crt_set_serial(one, &number, 1));
  expect_done(gnutls_x509_crt_set_dn_by_oid(one, GNUTLS_OID_X520_COUNTRY_NAME, 0, "GB", 2));
  expect_done(gnutls_x509_crt_set_dn_by_oid(one, GNUTLS_OID_X520_COMMON_NAME, 0, shape.common_name.data(),
                                            static_cast<unsigned>(shape.common_name.size())));
  expect_done(gnutls_x509_crt_set_activation_time(one, time(nullptr) + shape.begins_in));
  expect_done(gnutls_x509_crt_set_expiration_time(one, time(nullptr) + shape.ends_in));
  expect_done(gnutls_x509_crt_set_basic_constraints(one, shape.is_authority ? 1 : 0, -1));
  expect_done(gnutls_x509_crt_set_key_usage(
      one, shape.is_authority ? GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE));
  if (shape.is_for_servers) {
    expect_done(gnutls_x509_crt_set_subject_alt_name(one, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET));
    expect_done(gnutls_x509_crt_set_key_purpose_oid(one, GNUTLS_KP_TLS_WWW_SERVER, 0));
  }
  if (shape.is_for_clients) expect_done(gnutls_x509_crt_set_key_purpose_oid(one, GNUTLS_KP_TLS_WWW_CLIENT, 0));
  expect_done(gnutls_x509_crt_set_key(one, key.get()));
  return certificate;
}

std::string export_certificate(const GnutlsCertificate& certificate) {
  gnutls_datum_t data{};
  expect_done(gnutls_x509_crt_export2(certificate.get(), GNUTLS_X509_FMT_PEM, &data));
  return pem_of(data);
}

}  // namespace

CertificateDirectory::CertificateDirectory() {
  make_authority();
  make_certificate("server", {.common_name = "server", .is_for_servers = true});
  make_certificate("client", {.common_name = "client", .is_for_clients = true});
}

void CertificateDirectory::make_authority() {
  Key key = make_key();
  GnutlsCertificate certificate = make_unsigned({.common_name = "authority", .is_authority = true}, key, serial_++);
  expect_done(gnutls_x509_crt_sign2(certificate.get(), certificate.get(), key.get(), GNUTLS_DIG_SHA256, 0));
  write("ca-cert.pem", export_certificate(certificate), 0644);
  write("ca-key.pem", export_key(key, {}));
}

void CertificateDirectory::make_certificate(const std::string& name, const CertificateShape& shape) {
  Key issuer_key = import_key(read(shape.issuer + "-key.pem"));
  GnutlsCertificate issuer = import_certificate(read(shape.issuer + "-cert.pem"));
  Key key = make_key();
  GnutlsCertificate certificate = make_unsigned(shape, key, serial_++);
  expect_done(gnutls_x509_crt_sign2(certificate.get(), issuer.get(), issuer_key.get(), GNUTLS_DIG_SHA256, 0));
  write(name + "-cert.pem", export_certificate(certificate), 0644);
  write(name + "-key.pem", export_key(key, shape.password));
}

void CertificateDirectory::revoke(const std::string& name) {
  Key authority_key = import_key(read("ca-key.pem"));
  GnutlsCertificate authority = import_certificate(read("ca-cert.pem"));
  GnutlsCertificate revoked = import_certificate(read(name + "-cert.pem"));
  auto list = make_gnutls<RevocationList, gnutls_x509_crl_init>();
  const time_t now = time(nullptr);
  expect_done(gnutls_x509_crl_set_version(list.get(), 2));
  expect_done(gnutls_x509_crl_set_this_update(list.get(), now - 3600));
  expect_done(gnutls_x509_crl_set_next_update(list.get(), now + 24L * 3600));
  expect_done(gnutls_x509_crl_set_crt(list.get(), revoked.get(), now - 3600));
  expect_done(gnutls_x509_crl_sign2(list.get(), authority.get(), authority_key.get(), GNUTLS_DIG_SHA256, 0));
  gnutls_datum_t data{};
  expect_done(gnutls_x509_crl_export2(list.get(), GNUTLS_X509_FMT_PEM, &data));
  write("ca-crl.pem", pem_of(data), 0644);
}

void CertificateDirectory::write(const std::string& name, std::string_view content, int mode) {
  std::ofstream(file(name), std::ios::trunc) << content;
  chmod(file(name).c_str(), static_cast<mode_t>(mode));
}

std::string CertificateDirectory::read(const std::string& name) const {
  std::ifstream stream(file(name));
  std::ostringstream content;
  content << stream.rdbuf();
  return content.str();
}

}  // namespace blockexport::net::testing
