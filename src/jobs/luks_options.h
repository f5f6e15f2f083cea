// Conversion of the options of encryption with LUKS. Pure functions, apart from random numbers; any thread.
#pragma once

#include <string>

#include "crypto/algorithms.h"
#include "crypto/luks_header.h"
#include "schema/block_create.h"

namespace blockexport::jobs {

// `Options`: QCryptoBlockCreateOptionsLUKS or BlockdevCreateOptionsLUKS of the schema, which have the same members.
template <class Options>
crypto::LuksParameters luks_parameters_of(const Options& options) {
  crypto::LuksParameters parameters;
  if (options.cipher_alg) parameters.cipher.algorithm = static_cast<crypto::CipherAlgorithm>(*options.cipher_alg);
  if (options.cipher_mode) parameters.cipher.mode = static_cast<crypto::CipherMode>(*options.cipher_mode);
  if (options.ivgen_alg) parameters.cipher.iv = static_cast<crypto::IvGenerator>(*options.ivgen_alg);
  if (options.ivgen_hash_alg) {
    parameters.cipher.iv_hash = static_cast<crypto::HashAlgorithm>(*options.ivgen_hash_alg);
  } else if (parameters.cipher.iv == crypto::IvGenerator::kEssiv) {
    parameters.cipher.iv_hash = crypto::HashAlgorithm::kSha256;
  }
  if (options.hash_alg) parameters.hash = static_cast<crypto::HashAlgorithm>(*options.hash_alg);
  // A negative number becomes one that is too large.
  if (options.iter_time) parameters.iteration_time_ms = static_cast<std::uint64_t>(*options.iter_time);
  return parameters;
}

}  // namespace blockexport::jobs
