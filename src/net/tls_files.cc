#include "net/tls_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owned_fd.h"

namespace blockexport::net {
namespace {

Error no_access(const std::string& path, Errno cause) {
  return Error::system(fmt::format("Unable to access credentials {}", path), cause);
}

Result<> check_secrecy(const std::string& path, const struct stat& status) {
  constexpr mode_t kTooOpen = S_IRWXO | S_IWGRP;
  if ((status.st_mode & kTooOpen) != 0) {
    return fail(
        fmt::format("Unable to use credentials {}: its mode {:04o} lets others have the key; mend it with: "
                    "chmod 600 {}",
                    path, status.st_mode & 07777, path));
  }
  if (status.st_uid != geteuid() && status.st_uid != 0) {
    return fail(
        fmt::format("Unable to use credentials {}: it belongs to user {}, who is neither root nor us; mend it "
                    "with: chown {} {}",
                    path, status.st_uid, geteuid(), path));
  }
  return {};
}

Result<SecretBytes> read_whole(const std::string& path, int fd, std::size_t size) {
  SecretBytes content(size);
  std::size_t filled = 0;
  while (filled < size) {
    ssize_t count = ::read(fd, content.bytes().data() + filled, size - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(no_access(path, Errno::last()));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  content.shrink(filled);
  return content;
}

}  // namespace

Result<CredentialFile> read_credential_file(const std::string& directory, std::string_view name, FileSecrecy secrecy) {
  TRY_ASSIGN(auto file, read_optional_file(directory, name, secrecy));
  if (!file) return fail(no_access(fmt::format("{}/{}", directory, name), Errno(ENOENT)));
  return std::move(*file);
}

Result<std::optional<CredentialFile>> read_optional_file(const std::string& directory, std::string_view name,
                                                         FileSecrecy secrecy) {
  if (directory.empty()) return fail("Missing 'dir' property value");
  std::string path = fmt::format("{}/{}", directory, name);
  // A pipe or device must not hold us up.
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail(no_access(path, Errno::last()));
  if (!S_ISREG(status.st_mode)) return fail(fmt::format("Unable to access credentials {}: not a regular file", path));
  if (static_cast<std::uint64_t>(status.st_size) > kCredentialFileBytesMax) {
    return fail(fmt::format("Unable to access credentials {}: longer than {} bytes", path, kCredentialFileBytesMax));
  }
  if (secrecy == FileSecrecy::kPrivate) TRY(check_secrecy(path, status));
  TRY_ASSIGN(SecretBytes content, read_whole(path, fd.get(), static_cast<std::size_t>(status.st_size)));
  return CredentialFile{.path = std::move(path), .content = std::move(content)};
}

}  // namespace blockexport::net
