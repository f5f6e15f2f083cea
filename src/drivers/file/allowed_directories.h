// AllowedDirectories: directories beneath which files may be opened by untrusted paths.
//
// Owned by the policy for names inside images; drivers refer to it. Immutable; any thread. open_file() may block.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <vector>

#include "base/errno.h"
#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::drivers {

class AllowedDirectories {
 public:
  static constexpr std::size_t kDirectoriesMax = 64;

  // Opens the directories, which stay the same ones if they are renamed later. An error for a path that leads to none.
  static Result<AllowedDirectories> open(const std::vector<std::string>& paths);

  // Opens a file of a path whose links, once they are resolved, lead to a place beneath one of the directories; EXDEV
  // when it is elsewhere. Nothing outside is opened, even if links and directories change meanwhile. ENOSYS when the
  // kernel has no openat2(2), or hides it. `flags` as those of open(2).
  std::expected<OwnedFd, Errno> open_file(const std::string& path, int flags) const;

 private:
  struct Directory {
    std::string path;  // without links; "/" has an empty one
    OwnedFd fd;
  };

  std::vector<Directory> directories_;
};

}  // namespace blockexport::drivers
