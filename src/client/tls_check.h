// `blockexport tls check` and `blockexport tls show`: what stands in a directory of TLS credentials, and whether it
// works. Nothing that they print is secret. Both block.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::client {

struct TlsCheckOptions {
  std::string directory;
  std::string host;  // whom a client thinks it talks to; empty: it does not look
};

struct TlsReport {
  std::string text;
  bool has_fault = false;
};

// Errors: there is nothing to be looked at.
Result<TlsReport> tls_check(const TlsCheckOptions& options);
Result<TlsReport> tls_show(const std::string& directory);

}  // namespace blockexport::client
