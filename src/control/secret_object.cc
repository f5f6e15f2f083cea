#include "control/secret_object.h"

#include <fmt/format.h>

#include <array>

#include "aio/file_content.h"
#include "aio/with_deadline.h"
#include "base/file_exposure.h"
#include "control/control.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
// The first ones are those of any secret.
constexpr std::size_t kCommonProperties = 3;
constexpr std::array<PropertyDescription, 6> kProperties{{{"iv", "string"},
                                                          {"keyid", "string"},
                                                          {"format", "QCryptoSecretFormat"},
                                                          {"file", "string"},
                                                          {"strict-modes", "bool"},
                                                          {"data", "string"}}};

// It may be a pipe, whose length nobody knows and whose writer may never come. `status` gets what the file is.
aio::Task<Result<SecretBytes>> read_secret_file(aio::Reactor& reactor, std::string path, std::uint64_t wait_ns,
                                                struct stat& status) {
  SecretBytes bytes(kSecretFileBytesMax + 1);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, wait_ns);
  IoCount filled = co_await aio::read_file_until(reactor, path, bytes.bytes(), deadline_ns, &status);
  if (!filled && filled.error() == Errno(ETIMEDOUT)) {
    co_return fail(Error(fmt::format("Unable to read {}: it has not come to its end in {} s", path,
                                     wait_ns / kNanosecondsPerSecond))
                       .with_hint("A pipe has to be written to, and closed, by then."));
  }
  if (!filled) co_return fail(Error::system(fmt::format("Unable to read {}", path), filled.error()));
  if (*filled > kSecretFileBytesMax) {
    co_return fail(fmt::format("Unable to read {}: longer than {} bytes", path, kSecretFileBytesMax));
  }
  co_return SecretBytes(bytes.text().substr(0, *filled));
}

}  // namespace

std::span<const PropertyDescription> SecretObject::property_list() {
  return kProperties;
}

std::span<const PropertyDescription> SecretObject::common_properties() {
  return property_list().first(kCommonProperties);
}

Result<std::unique_ptr<UserObject>> SecretObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kSecret>();
  std::unique_ptr<SecretObject> object(new SecretObject(control, options.id));
  if (properties.data && properties.file) return fail("'file' and 'data' are mutually exclusive");
  if (!properties.data && !properties.file) return fail("Either 'file' or 'data' must be provided");
  if (properties.data) object->data_ = SecretBytes(properties.data->view());
  object->file_ = properties.file;
  object->keyid_ = properties.keyid.value_or("");
  object->iv_ = properties.iv;
  object->strict_modes_ = properties.strict_modes.value_or(false);
  if (properties.format == schema::QCryptoSecretFormat::kBase64) object->format_ = SecretFormat::kBase64;
  return object;
}

aio::Task<Result<>> SecretObject::complete() {
  forbid_core_dumps();
  SecretBytes written = std::move(data_);
  if (file_) {
    struct stat status{};
    CO_TRY_ASSIGN(written, co_await read_secret_file(control_.reactor(), *file_, control_.pipe_wait_ns(), status));
    if (auto exposure = find_exposure(*file_, status, FileSecrecy::kPrivate, geteuid())) {
      if (strict_modes_) co_return fail(fmt::format("Unable to use {}: {}", *file_, *exposure));
      control_.log().warning(fmt::format("secret '{}': {}: {}", id(), *file_, *exposure));
    }
  }
  std::optional<SecretCipher> cipher;
  SecretReference key;
  if (!keyid_.empty()) {
    CO_TRY_ASSIGN(key, find_secret(control_.objects(), keyid_));
    cipher = SecretCipher{.key = key->text(), .iv = iv_};
  }
  CO_TRY_ASSIGN(SecretBytes value, decode_secret(written.text(), format_, cipher));
  value_ = std::make_shared<const SecretBytes>(std::move(value));
  co_return Result<>();
}

json::Value SecretObject::get(std::string_view name) const {
  if (name == "iv") return json::Value(iv_.value_or(""));
  if (name == "keyid") return json::Value(keyid_);
  if (name == "file") return json::Value(file_.value_or(""));
  if (name == "strict-modes") return json::Value(strict_modes_);
  return json::Value(std::string(format_ == SecretFormat::kRaw ? "raw" : "base64"));
}

// What it holds is fixed: a property that is set is another one to be read, and nothing else, as in the original.
Result<> SecretObject::set(std::string_view name, const json::Value& value) {
  if (name == "strict-modes") {
    const bool* flag = value.as_bool();
    if (flag == nullptr) return fail(fmt::format("Invalid parameter type for '{}', expected: boolean", name));
    strict_modes_ = *flag;
    return {};
  }
  const std::string* text = value.as_string();
  if (text == nullptr) return fail(fmt::format("Invalid parameter type for '{}', expected: string", name));
  if (name == "format") {
    if (*text != "raw" && *text != "base64") {
      return fail(fmt::format("Parameter 'format' does not accept value '{}'", *text));
    }
    format_ = *text == "raw" ? SecretFormat::kRaw : SecretFormat::kBase64;
  }
  if (name == "iv") iv_ = *text;
  if (name == "keyid") keyid_ = *text;
  if (name == "file") file_ = *text;
  return {};
}

Result<SecretReference> find_secret(ObjectStore& objects, const std::string& id) {
  UserObject* object = objects.find(id);
  if (object == nullptr) return fail(fmt::format("No secret with id '{}'", id));
  SecretReference secret = object->secret();
  if (secret == nullptr) return fail(fmt::format("Object with id '{}' is not a secret", id));
  return secret;
}

}  // namespace blockexport::control
