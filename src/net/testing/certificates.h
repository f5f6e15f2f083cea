// Certificates for tests: a temporary directory of generated certificates and keys, with faults that a test chooses.
// Thread: any. Not part of the daemon.
#pragma once

#include <string>

#include "aio/testing/backends.h"

namespace blockexport::net::testing {

// Properties of a generated certificate. Times are in seconds from now.
struct CertificateShape {
  std::string common_name;
  bool is_authority = false;
  bool is_for_servers = false;
  bool is_for_clients = false;
  long begins_in = -3600;
  long ends_in = 100L * 24 * 3600;
  std::string password = {};  // encrypts the key
  std::string issuer = "ca";  // whose certificate and key in the same directory sign it
};

class CertificateDirectory {
 public:
  // Generates an authority, and a server's and a client's certificate that it has signed.
  CertificateDirectory();

  const std::string& path() const { return directory_.path(); }
  std::string file(const std::string& name) const { return path() + "/" + name; }

  // Replaces ca-cert.pem by a new authority, which has not signed the existing certificates.
  void make_authority();
  // Makes NAME-cert.pem and NAME-key.pem, signed by the shape's issuer; the file of the certificate is 0644, the key's
  // 0600.
  void make_certificate(const std::string& name, const CertificateShape& shape);
  // Makes ca-crl.pem, which revokes NAME-cert.pem.
  void revoke(const std::string& name);
  void write(const std::string& name, std::string_view content, int mode = 0600);
  std::string read(const std::string& name) const;

 private:
  aio::testing::TemporaryDirectory directory_;
  int serial_ = 1;
};

}  // namespace blockexport::net::testing
