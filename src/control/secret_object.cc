#include "control/secret_object.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/file_exposure.h"
#include "base/owned_fd.h"
#include "control/control.h"

namespace blockexport::control {
namespace {

// The first ones are those of any secret.
constexpr std::size_t kCommonProperties = 3;
constexpr std::array<PropertyDescription, 6> kProperties{{{"iv", "string"},
                                                          {"keyid", "string"},
                                                          {"format", "QCryptoSecretFormat"},
                                                          {"file", "string"},
                                                          {"strict-modes", "bool"},
                                                          {"data", "string"}}};

// Reading a file, on a worker.
struct FileReading {
  std::string path;
  bool is_strict = false;
  Result<SecretBytes> content = SecretBytes();
  std::optional<std::string> exposure = {};

  static std::int64_t run(void* reading) {
    auto& self = *static_cast<FileReading*>(reading);
    self.content = self.read();
    return 0;
  }

  Error cannot_read(Errno cause) const { return Error::system(fmt::format("Unable to read {}", path), cause); }

  Result<SecretBytes> read() {
    OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!fd || fstat(fd.get(), &status) != 0) return fail(cannot_read(Errno::last()));
    exposure = find_exposure(path, status, FileSecrecy::kPrivate, geteuid());
    if (exposure && is_strict) return fail(fmt::format("Unable to use {}: {}", path, *exposure));
    // It may be a pipe, whose length nobody knows.
    SecretBytes bytes(kSecretFileBytesMax + 1);
    std::size_t filled = 0;
    while (filled < bytes.size()) {
      const ssize_t count = ::read(fd.get(), bytes.bytes().data() + filled, bytes.size() - filled);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail(cannot_read(Errno::last()));
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    if (filled > kSecretFileBytesMax) {
      return fail(fmt::format("Unable to read {}: longer than {} bytes", path, kSecretFileBytesMax));
    }
    return SecretBytes(bytes.text().substr(0, filled));
  }
};

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
    FileReading reading{.path = *file_, .is_strict = strict_modes_};
    (void)co_await control_.reactor().call(FileReading::run, &reading);
    CO_TRY_ASSIGN(written, std::move(reading.content));
    if (reading.exposure) {
      control_.log().warning(fmt::format("secret '{}': {}: {}", id(), *file_, *reading.exposure));
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
