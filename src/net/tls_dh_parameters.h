// Diffie-Hellman parameters from a file, for users who bring their own. None are generated: the standard groups (RFC
// 7919) are as good and cost nothing. Thread: any.
#pragma once

#include "base/error.h"
#include "net/gnutls_handles.h"
#include "net/tls_files.h"

namespace blockexport::net {

inline constexpr std::string_view kDhParametersFile = "dh-params.pem";

// Errors: "Unable to load DH parameters from PATH: REASON".
Result<GnutlsDhParameters> read_dh_parameters(const CredentialFile& file);

}  // namespace blockexport::net
