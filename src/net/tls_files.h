// Files of a directory of TLS credentials: reads them, and checks whether other users can read or change them.
// Blocking, so on a worker. The caller logs the exposures that read_credential_file() finds.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file_exposure.h"
#include "base/secret_bytes.h"

namespace blockexport::net {

// Largest file of certificates or keys.
inline constexpr std::size_t kCredentialFileBytesMax = 4u << 20;

struct CredentialFile {
  std::string path;
  SecretBytes content;
  std::optional<std::string> exposure;  // fault of its mode or owner, and the command that corrects it (find_exposure)
};

// A file to be read: DIRECTORY/NAME.
struct CredentialFileRequest {
  const std::string& directory;
  std::string_view name;
  FileSecrecy secrecy = FileSecrecy::kPublic;
  bool is_strict = false;  // an exposed file is an error
};

// Errors: "Missing 'dir' property value"; "Unable to access credentials PATH: REASON", also for a file that is too long
// or not regular; with is_strict an exposed file, with the command that corrects it.
Result<CredentialFile> read_credential_file(const CredentialFileRequest& request);
// The same; nothing when there is no such file.
Result<std::optional<CredentialFile>> read_optional_file(const CredentialFileRequest& request);

}  // namespace blockexport::net
