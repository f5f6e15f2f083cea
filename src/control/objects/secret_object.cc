#include "control/objects/secret_object.h"

#include <fmt/format.h>

#include "control/core/control.h"
#include "control/objects/secret_value.h"

namespace blockexport::control {
namespace {

// The properties of the object, without the secret itself.
schema::SecretProperties shown_properties(schema::SecretProperties properties) {
  properties.data.reset();
  properties.format = properties.format.value_or(schema::QCryptoSecretFormat::kRaw);
  properties.strict_modes = properties.strict_modes.value_or(false);
  for (auto* text : {&properties.iv, &properties.keyid, &properties.file}) {
    if (!*text) text->emplace();
  }
  return properties;
}

}  // namespace

SecretObject::SecretObject(Control& control, std::string id, const schema::SecretProperties& properties)
    : ObjectOf(std::move(id), shown_properties(properties)),
      control_(control),
      has_file_(properties.file),
      iv_(properties.iv) {
  if (properties.data) data_ = SecretBytes(properties.data->view());
}

Result<std::unique_ptr<UserObject>> SecretObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kSecret>();
  TRY(check_secret(properties));
  return std::unique_ptr<UserObject>(new SecretObject(control, options.id, properties));
}

aio::Task<Result<>> SecretObject::complete() {
  forbid_core_dumps();
  SecretBytes written = std::move(data_);
  if (has_file_) {
    const std::string& file = *shown().file;
    std::optional<std::string> exposure;
    CO_TRY_ASSIGN(written, co_await read_secret_file(control_.reactor(), file, control_.pipe_wait_ns(), exposure));
    if (exposure) {
      if (*shown().strict_modes) co_return fail(fmt::format("Unable to use {}: {}", file, *exposure));
      control_.log().warning(fmt::format("secret '{}': {}: {}", id(), file, *exposure));
    }
  }
  SecretReference key;
  if (const std::string& keyid = *shown().keyid; !keyid.empty()) {
    CO_TRY_ASSIGN(key, find_secret(control_.objects(), keyid));
  }
  // The format is that with which it was made, and an empty one of the shown texts stands for none.
  schema::SecretProperties properties;
  properties.format = shown().format;
  properties.iv = iv_;
  CO_TRY_ASSIGN(SecretBytes value, secret_value(written.text(), properties, key));
  value_ = std::make_shared<const SecretBytes>(std::move(value));
  co_return Result<>();
}

Result<> SecretObject::change(std::string_view name, schema::SecretProperties changed) {
  changed.data.reset();
  return ObjectOf::change(name, std::move(changed));
}

}  // namespace blockexport::control
