#include "control/objects/secret_value.h"

#include <fmt/format.h>
#include <unistd.h>

#include "aio/file/file_content.h"
#include "aio/sync/with_deadline.h"
#include "base/file_exposure.h"
#include "control/objects/secret_decoding.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

Result<> check_secret(const schema::SecretProperties& properties) {
  if (properties.data && properties.file) return fail("'file' and 'data' are mutually exclusive");
  if (!properties.data && !properties.file) return fail("Either 'file' or 'data' must be provided");
  return {};
}

aio::Task<Result<SecretBytes>> read_secret_file(aio::Reactor& reactor, std::string path, std::uint64_t wait_ns,
                                                std::optional<std::string>& exposure) {
  SecretBytes bytes(kSecretFileBytesMax + 1);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, wait_ns);
  struct stat status{};
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
  exposure = find_exposure(path, status, FileSecrecy::kPrivate, geteuid());
  co_return SecretBytes(bytes.text().substr(0, *filled));
}

Result<SecretBytes> secret_value(std::string_view written, const schema::SecretProperties& properties,
                                 const std::shared_ptr<const SecretBytes>& key) {
  std::optional<SecretCipher> cipher;
  if (key != nullptr) cipher = SecretCipher{.key = key->text(), .iv = properties.iv};
  const auto format = properties.format.value_or(schema::QCryptoSecretFormat::kRaw);
  return decode_secret(
      written, format == schema::QCryptoSecretFormat::kRaw ? SecretFormat::kRaw : SecretFormat::kBase64, cipher);
}

}  // namespace blockexport::control
