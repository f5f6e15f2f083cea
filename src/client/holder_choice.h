// Shared parts of `tls add`, `renew`, `revoke` and `bundle`: selection of the certificate holder or user, and access to
// keys.psk. Blocks; thread: any. Only for these commands.
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

// The client or server that the options name; nothing when they name neither. Errors: they name both, or a name is
// invalid.
Result<std::optional<Choice>> choose(const TlsHolderOptions& options);
// The same, but it is also an error when the options name neither.
Result<Choice> choose_one(const TlsHolderOptions& options);
Result<> check_days(std::int64_t days);

// True if the command applies to pre-shared keys: by its option, or because the directory has only keys.psk.
bool is_about_keys(const TlsHolderOptions& options);
// choose_user(): the client that the options name; it is an error to name a server. read_keys(): the content of
// keys.psk; it is an error if the file does not exist.
Result<std::string> choose_user(const TlsHolderOptions& options);
Result<ReadFile> read_keys(const std::string& directory);
// Replaces keys.psk by `text`, and wipes it.
Result<> write_keys(const std::string& directory, std::string text);

// The CA's revocation list; null when there is no such file. Error: it cannot be read.
Result<RevocationList> read_revocations(const std::string& directory);
// The certificate of a holder, the first of its chain, and its file. Errors name the file.
Result<Certificate> read_certificate_of(const Holder& holder, ReadFile& file);

}  // namespace blockexport::client
