#include "drivers/encryption/passphrases.h"

#include <fmt/format.h>

namespace blockexport::drivers {

Result<crypto::Passphrase> find_passphrase(SecretSource* secrets, const std::optional<std::string>& id,
                                           std::string_view prefix) {
  if (!id) {
    return fail(Error(fmt::format("Parameter '{}key-secret' is required for cipher", prefix))
                    .with_hint("Make a secret object with the passphrase, and name its id here."));
  }
  if (secrets == nullptr) return fail(fmt::format("No secret with id '{}'", *id));
  TRY_ASSIGN(crypto::Passphrase secret, secrets->find_secret(*id));
  return crypto::passphrase_of(std::move(secret), *id);
}

bool is_to_be_locked(const SecretSource* secrets, const std::optional<std::string>& id) {
  return !id && secrets != nullptr && secrets->opens_locked_images();
}

}  // namespace blockexport::drivers
