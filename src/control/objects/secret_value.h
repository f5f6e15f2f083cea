// The value of a secret object: the content of its file, and its decoding, for the daemon and for the tool.
//
// Functions without state; thread: the control reactor. Errors are for users, and never repeat a byte of the secret.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "schema/qom.h"

namespace blockexport::aio {
class Reactor;
}

namespace blockexport::control {

// Maximum size of a secret's file.
inline constexpr std::size_t kSecretFileBytesMax = 1u << 20;

// Fails unless exactly one of data and file is given.
Result<> check_secret(const schema::SecretProperties& properties);

// The bytes of the file, which may be a pipe, whose length is unknown and whose writer may never come: it is awaited
// for `wait_ns`. Sets `exposure` if other users have access to the file (base/file_exposure.h).
aio::Task<Result<SecretBytes>> read_secret_file(aio::Reactor& reactor, std::string path, std::uint64_t wait_ns,
                                                std::optional<std::string>& exposure);

// The secret that `written` stands for: decoded by the properties' format, and decrypted with `key` if there is one.
Result<SecretBytes> secret_value(std::string_view written, const schema::SecretProperties& properties,
                                 const std::shared_ptr<const SecretBytes>& key);

}  // namespace blockexport::control
