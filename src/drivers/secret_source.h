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

 protected:
  ~SecretSource() = default;
};

}  // namespace blockexport::drivers
