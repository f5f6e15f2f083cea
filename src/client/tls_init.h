// `blockexport tls init`: creates a directory of TLS credentials. Blocks; thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace blockexport::client {

inline constexpr std::int64_t kDaysDefault = 365;
inline constexpr std::int64_t kCaDays = 3650;  // shortest validity of a CA
inline constexpr std::int64_t kDaysMax = 36'500;

struct TlsInitOptions {
  std::string directory;
  std::vector<std::string> hosts;  // names in the server's certificate; none: localhost and this host's name
  std::string client = "client";   // common name of the client's certificate, or the user of the key
  std::int64_t days = kDaysDefault;
  bool psk = false;
};

// Returns a report for the user with the next steps. On an error nothing was created.
Result<std::string> tls_init(const TlsInitOptions& options);

}  // namespace blockexport::client
