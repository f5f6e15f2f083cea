// Holders: who has a certificate of the CA of a directory, and where its files are.
//
// The first server and the first client, which `tls init` makes, have theirs in the directory itself; what `tls add`
// makes is in clients/NAME or servers/NAME below it, with the file names that clients look for. Blocks; thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "client/certificates.h"

namespace blockexport::client {

// Certificates of one directory that are looked through; more are an error.
inline constexpr std::size_t kHoldersMax = 10'000;

struct Holder {
  Side side = Side::kClient;
  std::string name;       // the common name of its certificate, or of its directory
  std::string directory;  // of its files
  bool is_first = false;  // they are in the directory of the CA itself
};

// "client-cert.pem", for what = "cert".
std::string file_of(Side side, std::string_view what);
// Where `tls add` puts what it makes: "DIRECTORY/clients/NAME".
std::string holder_directory(const std::string& directory, Side side, std::string_view name);
// All that are there, the first ones first, then by side and name.
Result<std::vector<Holder>> list_holders(const std::string& directory);
// Errors: there is none of that name, with the names that there are.
Result<Holder> find_holder(const std::string& directory, Side side, const std::string& name);

// Whether it can be a common name, the name of a directory and of a user of a shared key.
Result<> check_name(Side side, const std::string& name);

}  // namespace blockexport::client
