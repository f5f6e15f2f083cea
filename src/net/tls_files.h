// The files of a directory of TLS credentials: read whole, and looked at for who else can read or change them.
// Blocking: on a worker. Whoever loads them says in the log what read_credential_file() found exposed.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file_exposure.h"
#include "base/secret_bytes.h"

namespace blockexport::net {

// Longest file of certificates or keys.
inline constexpr std::size_t kCredentialFileBytesMax = 4u << 20;

struct CredentialFile {
  std::string path;
  SecretBytes content;
  std::optional<std::string> exposure;  // what its mode or owner lets others do, and what mends it (find_exposure)
};

// A file to be read: DIRECTORY/NAME.
struct CredentialFileRequest {
  const std::string& directory;
  std::string_view name;
  FileSecrecy secrecy = FileSecrecy::kPublic;
  bool is_strict = false;  // an exposed file is an error
};

// Errors: "Missing 'dir' property value"; "Unable to access credentials PATH: REASON"; a file that is too long, or
// none; with is_strict one that is exposed, with what mends it.
Result<CredentialFile> read_credential_file(const CredentialFileRequest& request);
// The same; nothing when there is no such file.
Result<std::optional<CredentialFile>> read_optional_file(const CredentialFileRequest& request);

}  // namespace blockexport::net
