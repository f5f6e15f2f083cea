#include <fmt/format.h>

#include <set>

#include "base/printable.h"
#include "client/authority.h"
#include "client/holder_choice.h"
#include "client/shared_key_users.h"

namespace blockexport::client {
namespace {

constexpr std::string_view kConnectionsContinue =
    "its existing connections continue: block-export-del with mode=hard closes those of an export\n";

Result<std::string> revoke_user(const TlsHolderOptions& options) {
  TRY_ASSIGN(const std::string user, choose_user(options));
  TRY_ASSIGN(OwnedFd lock, lock_directory(options.directory));
  TRY_ASSIGN(ReadFile keys, read_keys(options.directory));
  auto line = find_key_line(keys.text, user);
  Result<> written = line ? write_keys(options.directory, with_key_line(keys.text, user, ""))
                          : Result<>(fail(fmt::format("user '{}' has no key", user)));
  if (line) wipe(*line);
  wipe(keys.text);
  TRY(std::move(written));
  return fmt::format("took user '{}' out of {}/{}: a server that runs with it refuses it from now on\n{}", user,
                     options.directory, kKeys, kConnectionsContinue);
}

struct Revoked {
  std::string description;  // "client 'anna'"
  Certificate certificate;
};

Result<Revoked> find_revoked(const TlsHolderOptions& options) {
  TRY_ASSIGN(auto choice, choose(options));
  if (options.certificate.empty()) {
    TRY_ASSIGN(const Choice chosen, choose_one(options));
    TRY_ASSIGN(const Holder holder, find_holder(options.directory, chosen.side, chosen.name));
    ReadFile file;
    TRY_ASSIGN(Certificate certificate, read_certificate_of(holder, file));
    return Revoked{.description = fmt::format("{} '{}'", name_of(chosen.side), chosen.name),
                   .certificate = std::move(certificate)};
  }
  if (choice) return fail("--certificate is for one that has no name here");
  const std::size_t slash = options.certificate.rfind('/');
  const std::string in = slash == std::string::npos ? "." : options.certificate.substr(0, slash + 1);
  TRY_ASSIGN(auto file, read_file(in, options.certificate.substr(slash + 1)));
  if (!file) return fail(fmt::format("'{}' is not there", options.certificate));
  auto chain = parse_certificates(file->text);
  if (!chain) return fail(fmt::format("'{}' {}", options.certificate, chain.error().message()));
  return Revoked{.description = fmt::format("'{}'", printable(subject_of(chain->front()))),
                 .certificate = std::move(chain->front())};
}

// The directories with a copy of the list: the CA's, and those of all holders.
Result<std::set<std::string>> directories_with_list(const TlsHolderOptions& options) {
  std::set<std::string> directories{options.directory};
  TRY_ASSIGN(auto holders, list_holders(options.directory));
  for (Holder& holder : holders) directories.insert(std::move(holder.directory));
  return directories;
}

Result<std::string> revoke(const TlsHolderOptions& options) {
  TRY_ASSIGN(OwnedFd lock, lock_directory(options.directory));
  TRY_ASSIGN(const Authority authority, load_authority(options.directory, options.ca_key));
  TRY_ASSIGN(const Revoked revoked, find_revoked(options));
  if (!has_signed(authority, revoked.certificate)) {
    return fail(Error(fmt::format("the certificate of {} was signed by another CA, '{}'", revoked.description,
                                  printable(issuer_of(revoked.certificate))))
                    .with_hint("Peers that do not trust that CA refuse it anyway."));
  }
  TRY_ASSIGN(const RevocationList before, read_revocations(options.directory));
  if (before && is_revoked(before, revoked.certificate)) {
    return fail(fmt::format("the certificate of {} was revoked before", revoked.description));
  }
  TRY_ASSIGN(auto directories, directories_with_list(options));
  TRY_ASSIGN(std::string list, revoke_certificate(authority.identity, before ? &before : nullptr, revoked.certificate));
  const NewFile file{.name = std::string(kRevocations), .text = std::move(list), .is_secret = false};
  // The CA's list is written last: if an earlier step fails, the command can be repeated.
  for (const std::string& directory : directories) {
    if (directory != options.directory) TRY(replace_file(directory, file));
  }
  TRY(replace_file(options.directory, file));
  return fmt::format(
      "revoked the certificate of {0}: it is in {1}/{2}\n"
      "a server that runs with this directory refuses it from now on; others need the new {2} too\n{3}",
      revoked.description, options.directory, kRevocations, kConnectionsContinue);
}

}  // namespace

Result<std::string> tls_revoke(const TlsHolderOptions& options) {
  return is_about_keys(options) ? revoke_user(options) : revoke(options);
}

}  // namespace blockexport::client
