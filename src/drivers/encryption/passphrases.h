// Passphrases of images, by the ids of secret objects that options name. Thread: the control reactor.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "crypto/luks_volume.h"
#include "drivers/secret_source.h"

namespace blockexport::drivers {

// The passphrase of the secret `id`. Fails without an id, with the name of the option: `prefix` and "key-secret".
// `secrets` may be null: then there are no secrets. The errors are for users.
Result<crypto::Passphrase> find_passphrase(SecretSource* secrets, const std::optional<std::string>& id,
                                           std::string_view prefix);

// Returns true if an image is to be opened without its key: its options name no secret, and `secrets` allows it.
bool is_to_be_locked(const SecretSource* secrets, const std::optional<std::string>& id);

}  // namespace blockexport::drivers
