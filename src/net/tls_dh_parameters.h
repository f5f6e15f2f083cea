// Diffie-Hellman parameters of a file, for those who bring their own. They are never made here: the groups that
// everybody knows (RFC 7919) are as good and cost nothing. Thread: any.
#pragma once

#include "base/error.h"
#include "net/gnutls_handles.h"
#include "net/tls_files.h"

namespace blockexport::net {

inline constexpr std::string_view kDhParametersFile = "dh-params.pem";

// Errors: "Unable to load DH parameters from PATH: REASON".
Result<GnutlsDhParameters> read_dh_parameters(const CredentialFile& file);

}  // namespace blockexport::net
