// SecretObject: the object type "secret": a password or key that clients cannot read.
//
// object-add makes it; its content never changes. Internal users get its bytes as a shared reference that outlives the
// object; clients never get them. Thread: the control reactor.
#pragma once

#include "control/core/secret_lookup.h"
#include "control/objects/object_properties.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class SecretObject final : public ObjectOf<schema::SecretProperties> {
 public:
  // Errors: neither or both of data and file are given.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "secret"; }
  aio::Task<Result<>> complete() override;
  SecretReference secret() override { return value_; }

 private:
  SecretObject(Control& control, std::string id, const schema::SecretProperties& properties);
  // The content is fixed: changing a property changes only the value that qom-get returns, as in QEMU.
  Result<> change(std::string_view name, schema::SecretProperties changed) override;

  Control& control_;
  SecretBytes data_;                     // set until complete()
  const bool has_file_;                  // the secret is in a file
  const std::optional<std::string> iv_;  // as the user gave it
  SecretReference value_;
};

}  // namespace blockexport::control
