// Trial TLS handshake, in memory, between a server and a client with the credentials of a directory.
//
// Blocks for milliseconds; thread: any. It opens no connection and reads no file.
#pragma once

#include "client/credentials.h"

namespace blockexport::client {

// With certificates. When `client` is null the client has none, and the server does not request one. `host`: the
// server's name that the client checks; empty: none.
void try_x509(const Trust& trust, const OwnCredentials& server, const OwnCredentials* client, const std::string& host,
              Findings& findings);

// With a pre-shared key.
void try_psk(const SharedKey& key, Findings& findings);

}  // namespace blockexport::client
