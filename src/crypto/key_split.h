// The anti-forensic split of a key: the key spread over many stripes, all of which are needed to get it back.
//
// Pure functions; any thread. Source: LUKS On-Disk Format Specification 1.2.3, section 2.4.
#pragma once

#include <cstdint>
#include <span>

#include "crypto/algorithms.h"

namespace blockexport::crypto {

// Fills `split`, which is a multiple of the key's length, with the key in stripes. All but the last are random.
void split_key(HashAlgorithm hash, std::span<const std::byte> key, std::span<std::byte> split);

// Puts the key of such stripes in `key`.
void merge_key(HashAlgorithm hash, std::span<const std::byte> split, std::span<std::byte> key);

}  // namespace blockexport::crypto
