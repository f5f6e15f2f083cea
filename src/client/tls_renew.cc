#include <fmt/format.h>

#include <ctime>

#include "base/printable.h"
#include "client/authority.h"
#include "client/holder_choice.h"
#include "client/shared_key_users.h"

namespace blockexport::client {
namespace {

Result<std::string> renew_user(const TlsHolderOptions& options) {
  TRY_ASSIGN(const std::string user, choose_user(options));
  TRY_ASSIGN(OwnedFd lock, lock_directory(options.directory));
  TRY_ASSIGN(ReadFile keys, read_keys(options.directory));
  auto before = find_key_line(keys.text, user);
  Result<> written;
  if (!before) {
    written =
        fail(Error(fmt::format("user '{}' has no key", user))
                 .with_hint(fmt::format("Give one: blockexport tls add {} --client {}", options.directory, user)));
  } else {
    wipe(*before);
    auto line = make_key_line(user);
    written = line ? write_keys(options.directory, with_key_line(keys.text, user, *line))
                   : Result<>(fail(std::move(line).error()));
    if (line) wipe(*line);
  }
  wipe(keys.text);
  TRY(std::move(written));
  return fmt::format(
      "made a new key for user '{1}' in {0}/{2}: the old one is not accepted any longer\n"
      "to its host:  blockexport tls bundle {0} --client {1}\n",
      options.directory, user, kKeys);
}

// The new files of one holder.
struct Renewal {
  Holder holder;
  NewFile certificate;
  std::optional<NewFile> key;
};

Result<Renewal> make_renewal(const TlsHolderOptions& options, const Authority& authority, Holder holder,
                             const ReadFile& file) {
  TRY_ASSIGN(const std::int64_t days, days_within(authority, options.days));
  Renewal renewal{.holder = std::move(holder), .certificate = {}, .key = {}};
  const Side side = renewal.holder.side;
  PrivateKey key;
  if (options.new_key) {
    TRY_ASSIGN(key, make_key());
    TRY_ASSIGN(std::string pem, key_pem(key));
    renewal.key = NewFile{.name = file_of(side, "key"), .text = std::move(pem)};
  }
  auto signed_anew = sign_anew(authority, file, options.new_key ? &key : nullptr, days);
  if (!signed_anew) {
    return fail(std::move(signed_anew)
                    .error()
                    .with_prefix(fmt::format("'{}/{}' ", renewal.holder.directory, file_of(side, "cert"))));
  }
  renewal.certificate = {.name = file_of(side, "cert"), .text = std::move(*signed_anew), .is_secret = false};
  return renewal;
}

// Makes the renewals of the selected holders; appends a line to `left_out` for each revoked one.
Result<std::vector<Renewal>> make_renewals(const TlsHolderOptions& options, const Authority& authority,
                                           std::string& left_out) {
  TRY_ASSIGN(auto choice, choose(options));
  std::vector<Holder> holders;
  if (choice) {
    TRY_ASSIGN(Holder holder, find_holder(options.directory, choice->side, choice->name));
    holders.push_back(std::move(holder));
  } else {
    TRY_ASSIGN(holders, list_holders(options.directory));
  }
  if (holders.empty()) return fail(fmt::format("there are no certificates in '{}'", options.directory));
  TRY_ASSIGN(const RevocationList revoked, read_revocations(options.directory));
  std::vector<Renewal> renewals;
  for (Holder& holder : holders) {
    ReadFile file;
    TRY_ASSIGN(const Certificate certificate, read_certificate_of(holder, file));
    if (revoked && is_revoked(revoked, certificate)) {
      std::string text = fmt::format("{} '{}' was revoked", name_of(holder.side), printable(holder.name));
      if (choice) return fail(std::move(text));
      left_out += fmt::format("left out: {}\n", text);
      continue;
    }
    TRY_ASSIGN(Renewal renewal, make_renewal(options, authority, std::move(holder), file));
    renewals.push_back(std::move(renewal));
  }
  return renewals;
}

Result<std::string> renew_certificates(const TlsHolderOptions& options) {
  TRY(check_days(options.days));
  TRY_ASSIGN(OwnedFd lock, lock_directory(options.directory));
  TRY_ASSIGN(const Authority authority, load_authority(options.directory, options.ca_key));
  TRY_ASSIGN(const std::int64_t days, days_within(authority, options.days));
  std::string text;
  TRY_ASSIGN(auto renewals, make_renewals(options, authority, text));
  Result<> written;
  for (Renewal& renewal : renewals) {
    // A server that reads the files between the two replacements sees that they do not match, and keeps its old
    // credentials.
    if (written && renewal.key) written = replace_file(renewal.holder.directory, *renewal.key);
    if (renewal.key) wipe(renewal.key->text);
    if (written) written = replace_file(renewal.holder.directory, renewal.certificate);
    if (!written) continue;
    text += fmt::format("renewed {}/{}: {} '{}', valid until {}{}\n", renewal.holder.directory,
                        renewal.certificate.name, name_of(renewal.holder.side), printable(renewal.holder.name),
                        date_text(std::time(nullptr) + days * kDaySeconds), renewal.key ? ", with a new key" : "");
  }
  TRY(std::move(written));
  return text + fmt::format(
                    "a server that runs with one of these directories uses it for new connections from now on\n"
                    "to other hosts:  blockexport tls bundle {} --client NAME, or --server NAME\n",
                    options.directory);
}

}  // namespace

Result<std::string> tls_renew(const TlsHolderOptions& options) {
  return is_about_keys(options) ? renew_user(options) : renew_certificates(options);
}

}  // namespace blockexport::client
