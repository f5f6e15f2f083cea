// Hash functions and PBKDF2, on GnuTLS; RIPEMD-160, which GnuTLS lacks, on nettle.
//
// Pure functions; any thread. They block: PBKDF2 for as long as its iterations take, so that it runs on worker threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "crypto/algorithms.h"

namespace blockexport::crypto {

// The digest of `bytes`, in `digest`, which has digest_bytes_of(hash) bytes. The hash must be built.
void hash_bytes(HashAlgorithm hash, std::span<const std::byte> bytes, std::span<std::byte> digest);

// Derives `key` from a passphrase (RFC 8018, 5.2). The hash must be built, and there is at least one iteration.
void derive_key(HashAlgorithm hash, std::string_view passphrase, std::span<const std::byte> salt,
                std::uint32_t iterations, std::span<std::byte> key);

// The number of iterations of derive_key() that this machine makes in a second for a key of `key_bytes`. It measures
// for about 0.1 s of the thread's processor time.
std::uint64_t iterations_per_second(HashAlgorithm hash, std::size_t key_bytes);

// Fills `bytes` with random bytes for keys. Aborts the process when the kernel has none.
void fill_random(std::span<std::byte> bytes);
// The same for bytes that everybody may see, such as salts.
void fill_nonce(std::span<std::byte> bytes);

}  // namespace blockexport::crypto
