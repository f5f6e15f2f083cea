// SecretLookup: gives drivers the secrets that are objects of the control plane.
//
// Owned by the daemon; refers to the objects, which outlive its use. Thread: the control reactor.
#pragma once

#include "control/core/object_store.h"
#include "control/objects/secret_object.h"
#include "drivers/secret_source.h"

namespace blockexport::control {

class SecretLookup final : public drivers::SecretSource {
 public:
  explicit SecretLookup(ObjectStore& objects) : objects_(objects) {}

  Result<SecretReference> find_secret(const std::string& id) override { return control::find_secret(objects_, id); }

 private:
  ObjectStore& objects_;
};

}  // namespace blockexport::control
