// The encryption of a qcow2 image that is being opened: its key, by the passphrase that the options name.
//
// Thread: the control reactor. It may take as long as a passphrase is hashed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "drivers/qcow2/file/image_encryption.h"
#include "drivers/qcow2/image_content.h"
#include "drivers/secret_source.h"

namespace blockexport::drivers::qcow2 {

// Null for an image without encryption. `image`: of `file`, with a method that check_encryption() accepts. The errors
// are for users.
aio::Task<Result<std::unique_ptr<ImageEncryption>>> open_encryption(block::Node& file, const ImageContent& image,
                                                                    const std::optional<std::string>& key_secret,
                                                                    SecretSource* secrets);

}  // namespace blockexport::drivers::qcow2
