#include "control/objects/secret_object.h"

#include <fmt/format.h>

#include "aio/file/file_content.h"
#include "aio/sync/with_deadline.h"
#include "base/file_exposure.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

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

// The file may be a pipe, whose length is unknown and whose writer may never come. Sets `status` to that of the file.
aio::Task<Result<SecretBytes>> read_secret_file(aio::Reactor& reactor, std::string path, std::uint64_t wait_ns,
                                                struct stat& status) {
  SecretBytes bytes(kSecretFileBytesMax + 1);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, wait_ns);
  IoCount filled = co_await aio::read_file_until(reactor, path, bytes.bytes(), deadline_ns, &status);
  if (!filled && filled.error() == Errno(ETIMEDOUT)) {
    co_return fail(Error(fmt::format("Unable to read {}: its end was not reached within {} s", path,
                                     wait_ns / kNanosecondsPerSecond))
                       .with_hint("If it is a pipe, its writer has to close it by then."));
  }
  if (!filled) co_return fail(Error::system(fmt::format("Unable to read {}", path), filled.error()));
  if (*filled > kSecretFileBytesMax) {
    co_return fail(fmt::format("Unable to read {}: longer than {} bytes", path, kSecretFileBytesMax));
  }
  co_return SecretBytes(bytes.text().substr(0, *filled));
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
  if (properties.data && properties.file) return fail("'file' and 'data' are mutually exclusive");
  if (!properties.data && !properties.file) return fail("Either 'file' or 'data' must be provided");
  return std::unique_ptr<UserObject>(new SecretObject(control, options.id, properties));
}

aio::Task<Result<>> SecretObject::complete() {
  forbid_core_dumps();
  SecretBytes written = std::move(data_);
  if (has_file_) {
    const std::string& file = *shown().file;
    struct stat status{};
    CO_TRY_ASSIGN(written, co_await read_secret_file(control_.reactor(), file, control_.pipe_wait_ns(), status));
    if (auto exposure = find_exposure(file, status, FileSecrecy::kPrivate, geteuid())) {
      if (*shown().strict_modes) co_return fail(fmt::format("Unable to use {}: {}", file, *exposure));
      control_.log().warning(fmt::format("secret '{}': {}: {}", id(), file, *exposure));
    }
  }
  std::optional<SecretCipher> cipher;
  SecretReference key;
  if (const std::string& keyid = *shown().keyid; !keyid.empty()) {
    CO_TRY_ASSIGN(key, find_secret(control_.objects(), keyid));
    cipher = SecretCipher{.key = key->text(), .iv = iv_};
  }
  const bool is_raw = shown().format == schema::QCryptoSecretFormat::kRaw;
  const SecretFormat format = is_raw ? SecretFormat::kRaw : SecretFormat::kBase64;
  CO_TRY_ASSIGN(SecretBytes value, decode_secret(written.text(), format, cipher));
  value_ = std::make_shared<const SecretBytes>(std::move(value));
  co_return Result<>();
}

Result<> SecretObject::change(std::string_view name, schema::SecretProperties changed) {
  changed.data.reset();
  return ObjectOf::change(name, std::move(changed));
}

}  // namespace blockexport::control
