#include "net/tls_certificate_check.h"

#include <gtest/gtest.h>

#include "net/testing/certificates.h"

namespace blockexport::net {
namespace {

using testing::CertificateDirectory;

// The error message for these files; "" when they pass.
std::string refusal(std::string_view pem, std::string_view authorities_pem) {
  const Result<> checked = check_certificates({.endpoint = TlsEndpoint::kServer,
                                               .path = "server-cert.pem",
                                               .pem = pem,
                                               .authorities_path = "ca-cert.pem",
                                               .authorities_pem = authorities_pem});
  return checked ? "" : checked.error().message();
}

std::string failed_validation(const std::string& why) {
  return "Our own certificate server-cert.pem failed validation against ca-cert.pem: " + why;
}

// A server's certificate followed by its intermediate certificates up to the directory's authority.
std::string make_chain(CertificateDirectory& files, unsigned certificates) {
  std::string between;
  std::string issuer = "ca";
  for (unsigned i = 1; i < certificates; ++i) {
    const std::string name = "between" + std::to_string(i);
    files.make_certificate(name, {.common_name = name, .is_authority = true, .issuer = issuer});
    between.insert(0, files.read(name + "-cert.pem"));
    issuer = name;
  }
  files.make_certificate("server", {.common_name = "server", .is_for_servers = true, .issuer = issuer});
  return files.read("server-cert.pem") + between;
}

TEST(TlsCertificateCheck, AChainMayHaveSoManyCertificatesAndNoMore) {
  CertificateDirectory files;
  const std::string authority = files.read("ca-cert.pem");
  EXPECT_EQ(refusal(make_chain(files, kChainMax), authority), "");
  EXPECT_EQ(refusal(make_chain(files, kChainMax + 1), authority),
            failed_validation("The certificate hasn't got a known issuer"));
}

TEST(TlsCertificateCheck, SoManyAuthoritiesAreCheckedAndNoMore) {
  CertificateDirectory files;
  CertificateDirectory strangers;
  const std::string server = files.read("server-cert.pem");
  std::string authorities;
  for (unsigned i = 1; i < kAuthoritiesMax; ++i) authorities += strangers.read("ca-cert.pem");
  EXPECT_EQ(refusal(server, authorities + files.read("ca-cert.pem")), "");
  authorities += strangers.read("ca-cert.pem");
  EXPECT_EQ(refusal(server, authorities + files.read("ca-cert.pem")),
            failed_validation("The certificate is not trusted"));
}

}  // namespace
}  // namespace blockexport::net
