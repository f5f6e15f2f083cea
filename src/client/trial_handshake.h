// A TLS handshake between a server and a client with credentials that were read, in memory: what two programs would do.
//
// Blocks for milliseconds; thread: any. It makes no connection and reads no file.
#pragma once

#include "client/credentials.h"

namespace blockexport::client {

// With certificates. The client has none when `client` is null, and is not asked for one then. `host`: whom the client
// thinks it talks to; empty: it does not look.
void try_x509(const Trust& trust, const OwnCredentials& server, const OwnCredentials* client, const std::string& host,
              Findings& findings);

// With a pre-shared key.
void try_psk(const SharedKey& key, Findings& findings);

}  // namespace blockexport::client
