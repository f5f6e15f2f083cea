#include <fmt/format.h>
#include <sys/stat.h>

#include "base/log.h"
#include "client/authority.h"
#include "client/holder_choice.h"
#include "client/shared_key_users.h"

namespace blockexport::client {
namespace {

Result<std::string> add_user(const TlsHolderOptions& options) {
  TRY_ASSIGN(const std::string user, choose_user(options));
  if (!options.hosts.empty()) return fail("--host is for the certificate of a server");
  const std::string& directory = options.directory;
  TRY_ASSIGN(OwnedFd lock, lock_directory(directory));
  TRY_ASSIGN(ReadFile keys, read_keys(directory));
  auto there = find_key_line(keys.text, user);
  if (there) {
    wipe(*there);
    wipe(keys.text);
    return fail(Error(fmt::format("user '{}' has a key already", user))
                    .with_hint(fmt::format("A new one: blockexport tls renew {} --client {}", directory, user)));
  }
  auto line = make_key_line(user);
  Result<> written =
      line ? write_keys(directory, with_key_line(keys.text, user, *line)) : Result<>(fail(std::move(line).error()));
  if (line) wipe(*line);
  wipe(keys.text);
  TRY(std::move(written));
  return fmt::format(
      "added user '{1}' to {0}/{2}\n"
      "to its host:  blockexport tls bundle {0} --client {1}, which has no other user's key\n",
      directory, user, kKeys);
}

// The files of a new holder. The caller wipes their secrets.
Result<std::vector<NewFile>> make_holder_files(const TlsHolderOptions& options, const Authority& authority, Side side,
                                               const Identity& identity) {
  std::vector<NewFile> files;
  files.push_back({.name = std::string(kCaCertificate), .text = authority.certificate_pem, .is_secret = false});
  TRY_ASSIGN(auto revocations, read_file(options.directory, kRevocations));
  if (revocations) {
    files.push_back({.name = std::string(kRevocations), .text = std::move(revocations->text), .is_secret = false});
  }
  TRY_ASSIGN(std::string certificate, certificate_pem(identity.certificate));
  files.push_back({.name = file_of(side, "cert"), .text = std::move(certificate), .is_secret = false});
  TRY_ASSIGN(std::string key, key_pem(identity.key));
  files.push_back({.name = file_of(side, "key"), .text = std::move(key)});
  return files;
}

Result<> check_new(const TlsHolderOptions& options, const Choice& choice) {
  TRY_ASSIGN(auto holders, list_holders(options.directory));
  for (const Holder& holder : holders) {
    if (holder.side != choice.side || holder.name != choice.name) continue;
    return fail(
        Error(fmt::format("there is a {} '{}' already, in '{}'", name_of(choice.side), choice.name, holder.directory))
            .with_hint(fmt::format("To extend it: blockexport tls renew {} --{} {}. To replace it after its "
                                   "revocation: remove its files first.",
                                   options.directory, name_of(choice.side), choice.name)));
  }
  return {};
}

Result<> make_parent(const TlsHolderOptions& options, Side side) {
  const std::string parent = fmt::format("{}/{}s", options.directory, name_of(side));
  if (mkdir(parent.c_str(), S_IRWXU) == 0 || errno == EEXIST) return {};
  return fail(Error::system(fmt::format("cannot create '{}'", parent), Errno::last()));
}

std::string describe_added(const TlsHolderOptions& options, const Choice& choice, std::int64_t days) {
  const std::string own_directory = holder_directory(options.directory, choice.side, choice.name);
  std::string text = fmt::format(
      "made {0}: the certificate of {1} '{2}', valid for {3} days\n"
      "to its host:  blockexport tls bundle {4} --{1} {2}\n",
      own_directory, name_of(choice.side), choice.name, days, options.directory);
  if (choice.side == Side::kClient) {
    return text + fmt::format(
                      "servers:      --object authz-simple,id=acl,identity=CN={0} allows only this client\n"
                      "nbdinfo:      nbds://HOST/EXPORT?tls-certificates={1}\n",
                      choice.name, own_directory);
  }
  return text + fmt::format("server:       --object tls-creds-x509,id=tls,dir={},endpoint=server\n", own_directory);
}

Result<std::string> add_certificate(const TlsHolderOptions& options) {
  TRY_ASSIGN(const Choice choice, choose_one(options));
  TRY(check_days(options.days));
  std::vector<std::string> hosts = options.hosts;
  if (choice.side == Side::kClient && !hosts.empty()) return fail("--host is for the certificate of a server");
  if (choice.side == Side::kServer && hosts.empty()) hosts.push_back(choice.name);
  TRY_ASSIGN(OwnedFd lock, lock_directory(options.directory));
  TRY_ASSIGN(const Authority authority, load_authority(options.directory, options.ca_key));
  TRY(check_new(options, choice));
  TRY_ASSIGN(const std::int64_t days, days_within(authority, options.days));
  TRY_ASSIGN(const Identity made, make_identity(authority.identity, choice.side, choice.name, hosts, days));
  TRY_ASSIGN(auto files, make_holder_files(options, authority, choice.side, made));
  Result<> written = make_parent(options, choice.side);
  if (written) written = make_files(holder_directory(options.directory, choice.side, choice.name), files);
  for (NewFile& file : files) wipe(file.text);
  TRY(std::move(written));
  return describe_added(options, choice, days);
}

}  // namespace

Result<std::string> tls_add(const TlsHolderOptions& options) {
  return is_about_keys(options) ? add_user(options) : add_certificate(options);
}

}  // namespace blockexport::client
