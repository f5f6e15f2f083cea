// The information about a LUKS header that queries show. Pure functions; any thread.
#pragma once

#include "crypto/luks_header.h"
#include "schema/crypto.h"

namespace blockexport::drivers {

schema::QCryptoBlockInfoLUKS luks_information(const crypto::LuksHeader& header);

}  // namespace blockexport::drivers
