// SecretObject: the object type "secret": a password or key, kept where nobody else sees it.
//
// Made by object-add; what it holds never changes afterwards. Its bytes are given to those inside who need them, as a
// shared reference that outlives the object, and never to a client. Thread: the control reactor.
#pragma once

#include "control/objects/object_properties.h"
#include "control/objects/secret_decoding.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

// Longest file of a secret.
inline constexpr std::size_t kSecretFileBytesMax = 1u << 20;

class SecretObject final : public ObjectOf<schema::SecretProperties> {
 public:
  // Errors: neither or both of data and file.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "secret"; }
  aio::Task<Result<>> complete() override;
  SecretReference secret() override { return value_; }

 private:
  SecretObject(Control& control, std::string id, const schema::SecretProperties& properties);
  // What it holds is fixed: a property that is changed is another one to be read, and nothing else, as in the original.
  Result<> change(std::string_view name, schema::SecretProperties changed) override;

  Control& control_;
  SecretBytes data_;                     // until complete()
  const bool has_file_;                  // it has no data of its own
  const std::optional<std::string> iv_;  // as it was given
  SecretReference value_;
};

// The bytes of the secret `id`. Errors: "No secret with id 'X'", "Object with id 'X' is not a secret".
Result<SecretReference> find_secret(ObjectStore& objects, const std::string& id);

}  // namespace blockexport::control
