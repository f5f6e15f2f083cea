// SecretSource: interface through which drivers get the passphrases that their options name.
//
// Implemented in control/, a higher layer; outlives the drivers. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/secret_bytes.h"

namespace blockexport::drivers {

class SecretSource {
 public:
  // The bytes of the secret object `id`, which outlive the object. The errors are for users.
  virtual Result<std::shared_ptr<const SecretBytes>> find_secret(const std::string& id) = 0;
  // Returns true if an encrypted image is opened without a key when its options name no secret: it shows what its
  // header tells, and reads and writes of its bytes fail with EACCES.
  virtual bool opens_locked_images() const { return false; }

 protected:
  ~SecretSource() = default;
};

}  // namespace blockexport::drivers
