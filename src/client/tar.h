// Tar archives, in the form that POSIX calls ustar: enough for a few small files in one directory.
// Pure functions; thread: any. Reads nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::client {

struct TarFile {
  std::string name;
  std::string text;
  unsigned mode = 0644;
};

// The archive of a directory, for its owner alone, with the files in it. Errors: a name that is too long.
Result<std::string> make_tar(const std::string& directory, const std::vector<TarFile>& files, std::int64_t now_seconds);

}  // namespace blockexport::client
