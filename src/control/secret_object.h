// SecretObject: the object type "secret": a password or key, kept where nobody else sees it.
//
// Made by object-add; what it holds never changes afterwards. Its bytes are given to those inside who need them, as a
// shared reference that outlives the object, and never to a client. Thread: the control reactor.
#pragma once

#include "control/object_store.h"
#include "control/secret_decoding.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

// Longest file of a secret.
inline constexpr std::size_t kSecretFileBytesMax = 1u << 20;

class SecretObject final : public UserObject {
 public:
  // Errors: neither or both of data and file.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();
  // Those that every kind of secret has.
  static std::span<const PropertyDescription> common_properties();

  std::string_view type_name() const override { return "secret"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  bool is_readable(std::string_view name) const override { return name != "data"; }
  json::Value get(std::string_view name) const override;
  Result<> set(std::string_view name, const json::Value& value) override;
  aio::Task<Result<>> complete() override;
  SecretReference secret() override { return value_; }

 private:
  SecretObject(Control& control, std::string id) : UserObject(std::move(id)), control_(control) {}

  Control& control_;
  SecretFormat format_ = SecretFormat::kRaw;
  SecretBytes data_;  // until complete()
  std::optional<std::string> file_;
  bool strict_modes_ = false;
  std::string keyid_;
  std::optional<std::string> iv_;
  SecretReference value_;
};

// The bytes of the secret `id`. Errors: "No secret with id 'X'", "Object with id 'X' is not a secret".
Result<SecretReference> find_secret(ObjectStore& objects, const std::string& id);

}  // namespace blockexport::control
