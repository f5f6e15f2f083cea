// `blockexport tls init`: makes a directory of TLS credentials. Blocks; one call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace blockexport::client {

inline constexpr std::int64_t kDaysDefault = 365;
inline constexpr std::int64_t kCaDays = 3650;  // at least
inline constexpr std::int64_t kDaysMax = 36'500;

struct TlsInitOptions {
  std::string directory;
  std::vector<std::string> hosts;  // of the server's certificate; none: localhost and this host's name
  std::string client = "client";   // common name of the client's certificate, or the user of the key
  std::int64_t days = kDaysDefault;
  bool psk = false;
};

// What was made and what to do with it, for a person. Errors: nothing was made.
Result<std::string> tls_init(const TlsInitOptions& options);

}  // namespace blockexport::client
