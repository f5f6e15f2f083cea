#include "client/tls_init.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "client/holders.h"
#include "client/shared_key_users.h"
#include "client/tls_files.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kCommonNameBytesMax = 64;  // limit in X.520

Result<> check(const TlsInitOptions& options) {
  if (options.days < 1 || options.days > kDaysMax) {
    return fail(fmt::format("--days is from 1 to {}, not {}", kDaysMax, options.days));
  }
  TRY(check_name(Side::kClient, options.client));
  if (options.psk && !options.hosts.empty()) return fail("--host is for certificates, and --psk makes none");
  return {};
}

Result<std::string> init_psk(const TlsInitOptions& options) {
  TRY_ASSIGN(std::string line, make_key_line(options.client));
  std::vector<NewFile> files;
  files.push_back({.name = std::string(kKeys), .text = line});
  Result<> made = make_files(options.directory, files);
  wipe(files.front().text);
  wipe(line);
  TRY(std::move(made));
  const std::string& directory = options.directory;
  return fmt::format(
      "made {0}/{1}: the key of user '{2}', for server and client\n"
      "server:  --object tls-creds-psk,id=tls,dir={0},endpoint=server\n"
      "nbdinfo: nbds://{2}@HOST/EXPORT?tls-psk-file={0}/{1}\n"
      "qemu:    --object tls-creds-psk,id=tls,dir={0},endpoint=client,username={2}\n"
      "more:    blockexport tls add {0} --client NAME\n",
      directory, kKeys, options.client);
}

std::vector<std::string> hosts_of(const TlsInitOptions& options) {
  if (!options.hosts.empty()) return options.hosts;
  std::vector<std::string> hosts{"localhost", "127.0.0.1", "::1"};
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' &&
      std::string_view(name.data()) != "localhost") {
    hosts.emplace_back(name.data());
  }
  return hosts;
}

// A common name has at most 64 bytes; clients check the alternative names instead.
std::string server_name(const std::vector<std::string>& hosts) {
  return hosts.front().size() <= kCommonNameBytesMax ? hosts.front() : "server";
}

Result<std::string> init_x509(const TlsInitOptions& options) {
  std::array<unsigned char, 4> number{};
  gnutls_rnd(GNUTLS_RND_NONCE, number.data(), number.size());
  std::vector<std::string> hosts = hosts_of(options);
  // The CAs of two directories have different names too.
  std::string ca_name = fmt::format("blockexport CA {:02x}", fmt::join(number, ""));
  TRY_ASSIGN(Identity ca, make_ca(ca_name, std::max(options.days, kCaDays)));
  TRY_ASSIGN(Identity server, make_identity(ca, Side::kServer, server_name(hosts), hosts, options.days));
  TRY_ASSIGN(Identity client, make_identity(ca, Side::kClient, options.client, {}, options.days));
  std::vector<NewFile> files;
  auto add = [&files](const Identity& identity, std::string certificate_name, std::string key_name) -> Result<> {
    TRY_ASSIGN(std::string certificate, certificate_pem(identity.certificate));
    TRY_ASSIGN(std::string key, key_pem(identity.key));
    files.push_back({.name = std::move(certificate_name), .text = std::move(certificate), .is_secret = false});
    files.push_back({.name = std::move(key_name), .text = std::move(key)});
    return {};
  };
  Result<> made = add(ca, std::string(kCaCertificate), std::string(kCaKey));
  if (made) made = add(server, file_of(Side::kServer, "cert"), file_of(Side::kServer, "key"));
  if (made) made = add(client, file_of(Side::kClient, "cert"), file_of(Side::kClient, "key"));
  if (made) made = make_files(options.directory, files);
  for (NewFile& file : files) wipe(file.text);
  TRY(std::move(made));
  return fmt::format(
      "made {0}: a CA and the certificates of server '{1}' and client '{2}', valid for {3} days\n"
      "a server needs  ca-cert.pem server-cert.pem server-key.pem\n"
      "a client needs  ca-cert.pem client-cert.pem client-key.pem\n"
      "nobody needs    ca-key.pem, except to sign more: keep it where neither of them can read it\n"
      "more clients:   blockexport tls add {0} --client NAME, and see renew, revoke and bundle there\n"
      "server:  --object tls-creds-x509,id=tls,dir={0},endpoint=server\n"
      "clients: --object authz-simple,id=acl,identity=CN={2} allows only this client\n"
      "nbdinfo: nbds://{1}/EXPORT?tls-certificates={0}\n"
      "qemu:    --object tls-creds-x509,id=tls,dir={0},endpoint=client\n",
      options.directory, hosts.front(), options.client, options.days);
}

}  // namespace

Result<std::string> tls_init(const TlsInitOptions& options) {
  TRY(check(options));
  return options.psk ? init_psk(options) : init_x509(options);
}

}  // namespace blockexport::client
