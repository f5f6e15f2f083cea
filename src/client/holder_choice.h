// What `tls add`, `renew`, `revoke` and `bundle` share: whom their options mean, and the users of keys.psk that they
// change. Blocks; thread: any. Not for others.
#pragma once

#include <optional>
#include <string>

#include "client/holders.h"
#include "client/tls_files.h"
#include "client/tls_holders.h"

namespace blockexport::client {

struct Choice {
  Side side;
  std::string name;
};

// Nothing when neither is named. Errors: both are, or a name that cannot be.
Result<std::optional<Choice>> choose(const TlsHolderOptions& options);
// Errors also when nobody is named.
Result<Choice> choose_one(const TlsHolderOptions& options);
Result<> check_days(std::int64_t days);

// Whether the directory, or the option, is about shared keys.
bool is_about_keys(const TlsHolderOptions& options);
// The client that is named, and keys.psk. Errors: a server is named; there is no such file.
Result<std::string> choose_user(const TlsHolderOptions& options);
Result<ReadFile> read_keys(const std::string& directory);
// Replaces keys.psk, and wipes `text`.
Result<> write_keys(const std::string& directory, std::string text);

// The certificates of the CA that were revoked, or null when there is no list. Errors: a list that cannot be read.
Result<RevocationList> read_revocations(const std::string& directory);
// The certificate of a holder, first of its chain, and the file that it is in. Errors name the file.
Result<Certificate> read_certificate_of(const Holder& holder, ReadFile& file);

}  // namespace blockexport::client
