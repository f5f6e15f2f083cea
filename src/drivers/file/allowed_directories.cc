#include "drivers/file/allowed_directories.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace blockexport::drivers {
namespace {

// The path without links; empty after a failure, which errno names.
std::string resolved(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> text(realpath(path.c_str(), nullptr));
  return text == nullptr ? std::string() : std::string(text.get());
}

}  // namespace

Result<AllowedDirectories> AllowedDirectories::open(const std::vector<std::string>& paths) {
  if (paths.size() > kDirectoriesMax) return fail(fmt::format("There are more than {} directories", kDirectoriesMax));
  AllowedDirectories opened;
  for (const std::string& path : paths) {
    std::string real = resolved(path);
    OwnedFd fd(real.empty() ? -1 : ::open(real.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail(Error::system(fmt::format("Could not open directory '{}'", path), Errno(errno)));
    if (real == "/") real.clear();
    opened.directories_.push_back({.path = std::move(real), .fd = std::move(fd)});
  }
  return opened;
}

std::expected<OwnedFd, Errno> AllowedDirectories::open_file(const std::string& path, int flags) const {
  const std::string real = resolved(path);
  if (real.empty()) return fail(errno);
  for (const Directory& directory : directories_) {
    std::string_view rest = real;
    if (!rest.starts_with(directory.path)) continue;
    rest.remove_prefix(directory.path.size());
    if (rest.size() < 2 || rest.front() != '/') continue;
    const std::string beneath(rest.substr(1));
    // The path has no links any more. A link that appears now was put there to escape.
    open_how how{};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const long fd = syscall(SYS_openat2, directory.fd.get(), beneath.c_str(), &how, sizeof how);
    if (fd >= 0) return OwnedFd(static_cast<int>(fd));
    return fail(errno);
  }
  return fail(EXDEV);
}

}  // namespace blockexport::drivers
