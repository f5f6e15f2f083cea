#include "base/absolute_path.h"

#include <unistd.h>

#include <climits>

namespace blockexport {

std::string absolute_path(std::string_view path) {
  if (path.empty() || path.starts_with('/')) return std::string(path);
  char buffer[PATH_MAX];
  // getcwd(2) reports a directory outside of the process's root with a prefix such as "(unreachable)".
  if (getcwd(buffer, sizeof buffer) == nullptr || buffer[0] != '/') return std::string(path);
  std::string absolute(buffer);
  if (!absolute.ends_with('/')) absolute += '/';
  absolute += path;
  return absolute;
}

}  // namespace blockexport
