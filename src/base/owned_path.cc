#include "base/owned_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/absolute_path.h"

namespace blockexport {
namespace {

// Fails when `to` exists.
bool rename_to_free_name(const std::string& from, const std::string& to) {
  return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0;
}

}  // namespace

std::optional<FileIdentity> FileIdentity::of_path(const std::string& path) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{.device = status.st_dev, .inode = status.st_ino};
}

std::optional<FileIdentity> FileIdentity::of_descriptor(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return std::nullopt;
  return FileIdentity{.device = status.st_dev, .inode = status.st_ino};
}

OwnedPath::OwnedPath(const std::string& path, FileIdentity identity)
    : path_(absolute_path(path)), identity_(identity) {}

OwnedPath& OwnedPath::operator=(OwnedPath&& other) noexcept {
  if (this == &other) return *this;
  remove();
  path_ = std::exchange(other.path_, {});
  identity_ = std::exchange(other.identity_, {});
  return *this;
}

bool OwnedPath::is_ours() const {
  return !path_.empty() && FileIdentity::of_path(path_) == identity_;
}

void OwnedPath::remove() {
  if (is_ours()) {
    // Another process may replace the file between this check and the removal, and no system call removes a name on a
    // condition. So the name is first moved to one that nobody else uses, checked again there, and moved back if the
    // file is not ours.
    const std::string aside = fmt::format("{}.{}.gone", path_, getpid());
    if (!rename_to_free_name(path_, aside)) {
      // The file system cannot do that, or the name is too long.
      unlink(path_.c_str());
    } else if (FileIdentity::of_path(aside) == identity_ || !rename_to_free_name(aside, path_)) {
      unlink(aside.c_str());
    }
  }
  path_.clear();
}

}  // namespace blockexport
