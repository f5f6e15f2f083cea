#include "drivers/encryption/luks_information.h"

namespace blockexport::drivers {

// The enumerations of crypto/ have the order of those of the schema.
static_assert(static_cast<int>(schema::QCryptoCipherAlgo::kSm4) == static_cast<int>(crypto::CipherAlgorithm::kSm4));
static_assert(static_cast<int>(schema::QCryptoCipherMode::kCtr) == static_cast<int>(crypto::CipherMode::kCtr));
static_assert(static_cast<int>(schema::QCryptoIVGenAlgo::kEssiv) == static_cast<int>(crypto::IvGenerator::kEssiv));
static_assert(static_cast<int>(schema::QCryptoHashAlgo::kSm3) == static_cast<int>(crypto::HashAlgorithm::kSm3));

schema::QCryptoBlockInfoLUKS luks_information(const crypto::LuksHeader& header) {
  schema::QCryptoBlockInfoLUKS info;
  info.cipher_alg = static_cast<schema::QCryptoCipherAlgo>(header.cipher.algorithm);
  info.cipher_mode = static_cast<schema::QCryptoCipherMode>(header.cipher.mode);
  info.ivgen_alg = static_cast<schema::QCryptoIVGenAlgo>(header.cipher.iv);
  if (header.cipher.iv == crypto::IvGenerator::kEssiv) {
    info.ivgen_hash_alg = static_cast<schema::QCryptoHashAlgo>(*header.cipher.iv_hash);
  }
  info.hash_alg = static_cast<schema::QCryptoHashAlgo>(header.hash);
  info.detached_header = header.payload_sector == 0;
  info.payload_offset = static_cast<std::int64_t>(header.payload_offset());
  info.master_key_iters = header.digest_iterations;
  info.uuid = header.uuid;
  for (std::size_t i = 0; i < crypto::kLuksSlots; ++i) {
    const crypto::LuksSlot& slot = header.slots[i];
    schema::QCryptoBlockInfoLUKSSlot& shown = info.slots.emplace_back();
    shown.active = slot.active;
    shown.key_offset = static_cast<std::int64_t>(header.material_offset(i));
    if (!slot.active) continue;
    shown.iters = slot.iterations;
    shown.stripes = slot.stripes;
  }
  return info;
}

}  // namespace blockexport::drivers
