// Holders: clients and servers with a certificate of a directory's CA, and the locations of their files.
//
// The files of the first server and client, which `tls init` creates, are in the directory itself; those that `tls add`
// creates are in its subfolders clients/NAME and servers/NAME, with the file names that TLS clients expect. Blocks;
// thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "client/certificates.h"

namespace blockexport::client {

// Most holders of one directory; more are an error.
inline constexpr std::size_t kHoldersMax = 10'000;

struct Holder {
  Side side = Side::kClient;
  std::string name;       // the common name of its certificate, or of its directory
  std::string directory;  // directory of its files
  bool is_first = false;  // its files are in the directory of the CA itself
};

// "client-cert.pem", for what = "cert".
std::string file_of(Side side, std::string_view what);
// The directory for the files of `tls add`: "DIRECTORY/clients/NAME".
std::string holder_directory(const std::string& directory, Side side, std::string_view name);
// All holders: the first server and client, then the others by side and name.
Result<std::vector<Holder>> list_holders(const std::string& directory);
// Error: there is no holder of that name; its hint lists the existing names.
Result<Holder> find_holder(const std::string& directory, Side side, const std::string& name);

// True if `name` is valid as a common name, as a directory and as the user of a pre-shared key.
Result<> check_name(Side side, const std::string& name);

}  // namespace blockexport::client
