// Files of a directory of TLS credentials: their names, and functions to read, create and replace them.
//
// GnuTLS's programs, libnbd, QEMU and libvirt use the same names. Thread: any; blocks.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::client {

inline constexpr std::string_view kCaCertificate = "ca-cert.pem";
inline constexpr std::string_view kCaKey = "ca-key.pem";
inline constexpr std::string_view kRevocations = "ca-crl.pem";
inline constexpr std::string_view kKeys = "keys.psk";
// Largest file that is read.
inline constexpr std::size_t kFileBytesMax = 4u << 20;

struct ReadFile {
  std::string text;
  mode_t mode = 0;  // permission bits only
  uid_t owner = 0;
};

// Reads a file; nothing when it does not exist. Errors name the path: it cannot be read, is no regular file, or is too
// long.
Result<std::optional<ReadFile>> read_file(const std::string& directory, std::string_view name);

// A file to create: mode 0600 if it is secret, else 0644.
struct NewFile {
  std::string name;
  std::string text;
  bool is_secret = true;
};

// Creates the files in `directory`, all or none; after a crash each single file is complete or absent. Creates a
// missing directory with mode 0700, which appears together with all its files. Errors: one of the files exists already;
// nothing is overwritten.
Result<> make_files(const std::string& directory, const std::vector<NewFile>& files);

// Replaces a file atomically: a reader sees either the complete old one or the complete new one. The new file gets the
// old one's owner and mode, but a secret keeps only the owner's permissions and the group's read permission.
Result<> replace_file(const std::string& directory, const NewFile& file);

// Locks the directory against changes by other `blockexport tls` processes, until the descriptor is closed. Error:
// another process has locked it.
Result<OwnedFd> lock_directory(const std::string& directory);

// Overwrites a secret before its memory is freed.
void wipe(std::string& secret);

}  // namespace blockexport::client
