// Landlock: restriction of the files that this process can open, by the kernel's system calls (landlock(7)); glibc has
// no functions for them. Main thread, before any other thread runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace blockexport::daemon {

// Version of the kernel's interface; 0: the kernel has no Landlock, or it is off.
int landlock_version();

// Uses of files, each a set of the kernel's access rights.
enum class FileUse {
  kRead,     // files are read, directories listed
  kWrite,    // also written, made, renamed and removed; ioctl() of devices
  kSockets,  // also unix sockets are made
};

struct FileRule {
  std::string path;  // a file, or a directory with everything beneath it
  FileUse use;
  bool must_exist = true;
};

// From now on, files that no rule covers cannot be opened; open ones stay open. Errors: a path that must exist does
// not, the kernel has no Landlock.
Result<> restrict_files(const std::vector<FileRule>& rules);

}  // namespace blockexport::daemon
