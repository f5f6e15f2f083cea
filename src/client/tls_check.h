// `blockexport tls check` and `blockexport tls show`: check and print the content of a directory of TLS credentials.
// They print no secrets. Both block; thread: any.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::client {

struct TlsCheckOptions {
  std::string directory;
  std::string host;  // name by which clients reach the server; empty: not checked
};

struct TlsReport {
  std::string text;
  bool has_fault = false;
};

// Error: the directory has no credentials.
Result<TlsReport> tls_check(const TlsCheckOptions& options);
Result<TlsReport> tls_show(const std::string& directory);

}  // namespace blockexport::client
