// ImageEncryption: how the guest data of a qcow2 image are encrypted, with the key.
//
// Owned by the driver of the image. Thread: the members say it. Source: docs/interop/qcow2.rst of QEMU, "Data
// encryption".
#pragma once

#include <optional>
#include <string>

#include "crypto/luks_header.h"
#include "drivers/encryption/encrypted_data.h"

namespace blockexport::drivers::qcow2 {

struct ImageEncryption {
  // The number of a sector is that of its place on the disk, as the older method has it; else of its place in the file.
  const bool by_guest_offset = false;
  EncryptedData data;  // any reactor
  // The header of an image that is encrypted with LUKS, and the id of the secret of its passphrase. The control
  // reactor.
  std::optional<crypto::LuksHeader> luks = std::nullopt;
  std::string key_secret = {};
};

}  // namespace blockexport::drivers::qcow2
