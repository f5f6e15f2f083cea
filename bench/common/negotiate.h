// negotiate(): the client's side of the fixed newstyle handshake, up to the first request.
//
// Thread: any, blocking. Checks every magic; a protocol error of the server is fatal, a closed connection is reported.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/channel.h"

namespace blockexport::bench {

enum class Replies { kSimple, kStructured, kExtended };

struct NegotiationOptions {
  std::string export_name;
  // kStructured falls back to simple replies when the server does not know the option; kExtended does not fall back.
  Replies replies = Replies::kStructured;
  // The meta context to ask for, as "base:allocation"; "": none.
  std::string context;
  // Credentials for TLS; a server that does not offer TLS is fatal. Null: plain.
  std::shared_ptr<const TlsCredentials> tls;
};

struct Agreement {
  uint64_t size = 0;
  uint16_t flags = 0;
  Replies replies = Replies::kSimple;
  // The id of the meta context, if the server granted it.
  std::optional<uint32_t> context;
  // For example "TLS1.3 AES-256-GCM"; empty when plain.
  std::string cipher;
};

// Returns the negotiated session; nothing if the server closed the connection or refused the export.
[[nodiscard]] std::optional<Agreement> negotiate(Channel& channel, const NegotiationOptions& negotiation);

// The name of a reply kind, as in the --replies option.
const char* name_of(Replies replies);

}  // namespace blockexport::bench
