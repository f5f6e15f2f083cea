// The files of a directory of TLS credentials: read whole, checked before they are believed.
// Blocking: on a worker.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/secret_bytes.h"

namespace blockexport::net {

// Longest file of certificates or keys.
inline constexpr std::size_t kCredentialFileBytesMax = 4u << 20;

enum class FileSecrecy { kPublic, kPrivate };

struct CredentialFile {
  std::string path;
  SecretBytes content;
};

// The file DIRECTORY/NAME. Errors: "Missing 'dir' property value"; "Unable to access credentials PATH: REASON"; a file
// that is too long; a private one that others than its owner and group can open, with what mends it.
Result<CredentialFile> read_credential_file(const std::string& directory, std::string_view name, FileSecrecy secrecy);
// The same; nothing when there is no such file.
Result<std::optional<CredentialFile>> read_optional_file(const std::string& directory, std::string_view name,
                                                         FileSecrecy secrecy);

}  // namespace blockexport::net
