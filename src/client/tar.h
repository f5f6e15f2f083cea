// Writer of tar archives in POSIX's ustar format, for a few small files in one directory. Pure functions; thread: any.
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

// Returns the archive of a directory (mode 0700) with these files. Error: a name is too long.
Result<std::string> make_tar(const std::string& directory, const std::vector<TarFile>& files, std::int64_t now_seconds);

}  // namespace blockexport::client
