// ReferencePolicy: the rule for names inside images: all are opened, only those of files beneath some directories, or
// none.
//
// The user of the daemon sets it (--image-references). It does not concern nodes that the user defines. Immutable; any
// thread.
#pragma once

#include <optional>
#include <utility>

#include "drivers/file/allowed_directories.h"

namespace blockexport::drivers {

class ReferencePolicy {
 public:
  // As qemu-storage-daemon: an image may name any file that this process can open.
  static ReferencePolicy allow() { return {}; }
  static ReferencePolicy deny() {
    ReferencePolicy policy;
    policy.denies_all_ = true;
    return policy;
  }
  static ReferencePolicy beneath(AllowedDirectories directories) {
    ReferencePolicy policy;
    policy.directories_ = std::move(directories);
    return policy;
  }

  bool denies_all() const { return denies_all_; }
  // Null: a file may be anywhere.
  const AllowedDirectories* directories() const { return directories_ ? &*directories_ : nullptr; }

 private:
  bool denies_all_ = false;
  std::optional<AllowedDirectories> directories_;
};

}  // namespace blockexport::drivers
