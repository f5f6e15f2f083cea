// The files of a directory of TLS credentials: their names, reading one, and making several at once.
//
// The names are those that GnuTLS's programs, libnbd, QEMU and libvirt use. Thread: any; blocks.
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
// A longer file holds no credentials.
inline constexpr std::size_t kFileBytesMax = 4u << 20;

struct ReadFile {
  std::string text;
  mode_t mode = 0;  // permissions alone
  uid_t owner = 0;
};

// Nothing when there is none. Errors name the path: it cannot be read, is no regular file, or is too long.
Result<std::optional<ReadFile>> read_file(const std::string& directory, std::string_view name);

// A file that only its owner can read, or that all can.
struct NewFile {
  std::string name;
  std::string text;
  bool is_secret = true;
};

// Makes the files in `directory`, all or none, also when the machine stops meanwhile as far as one file goes. A
// directory that is not there is made, for its owner alone, and appears with all its files. Errors: one of them is
// there already; nothing is overwritten.
Result<> make_files(const std::string& directory, const std::vector<NewFile>& files);

// Puts a file into its place at once: whoever reads it sees the old one or the new one, whole. One that was there keeps
// its owner and its mode, but a secret is not left open to others.
Result<> replace_file(const std::string& directory, const NewFile& file);

// Keeps others of these programs from changing the directory at the same time, until it is dropped. Errors: one does.
Result<OwnedFd> lock_directory(const std::string& directory);

// Overwrites a secret before its memory is given back.
void wipe(std::string& secret);

}  // namespace blockexport::client
