// SecretLookup: gives drivers and jobs the secrets that are objects of the control plane.
//
// Owned by Control; refers to its objects. Thread: the control reactor.
#pragma once

#include "control/core/object_store.h"
#include "drivers/secret_source.h"

namespace blockexport::control {

// The bytes of the secret `id`. Errors: "No secret with id 'X'", "Object with id 'X' is not a secret".
Result<SecretReference> find_secret(ObjectStore& objects, const std::string& id);

class SecretLookup final : public drivers::SecretSource {
 public:
  explicit SecretLookup(ObjectStore& objects) : objects_(objects) {}

  Result<SecretReference> find_secret(const std::string& id) override { return control::find_secret(objects_, id); }

 private:
  ObjectStore& objects_;
};

}  // namespace blockexport::control
