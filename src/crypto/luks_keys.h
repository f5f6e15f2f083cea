// The keys of a LUKS disk: a passphrase opens a key slot, whose key material gives the master key.
//
// Pure functions; any thread. They block: each derives a key from a passphrase, which takes as long as the iterations
// of the header say, so that they run on worker threads. All memory with keys is wiped. Source: LUKS On-Disk Format
// Specification 1.2.3, section 4.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/secret_bytes.h"
#include "crypto/luks_header.h"

namespace blockexport::crypto {

// The master key that the passphrase gets out of `material`, which has header.material_bytes() from the place of the
// slot; nullopt: the passphrase is not that of the slot. The slot is active.
Result<std::optional<SecretBytes>> open_slot(const LuksHeader& header, std::size_t slot, std::string_view passphrase,
                                             std::span<const std::byte> material);

// Makes `slot` of the header active, with a new salt and as many iterations as take `iteration_time_ms`, and fills
// `material`, of header.material_bytes(), so that the passphrase opens it. Errors are for users.
Result<> seal_slot(LuksHeader& header, std::size_t slot, std::string_view passphrase, std::uint64_t iteration_time_ms,
                   std::span<const std::byte> master_key, std::span<std::byte> material);

// Makes a master key, and its digest in the header.
Result<SecretBytes> make_master_key(LuksHeader& header, std::uint64_t iteration_time_ms);

}  // namespace blockexport::crypto
