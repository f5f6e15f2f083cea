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

Result<CredentialFile> read_credential_file(const CredentialFileRequest& request) {
  TRY_ASSIGN(auto file, read_optional_file(request));
  if (!file) return fail(no_access(fmt::format("{}/{}", request.directory, request.name), Errno(ENOENT)));
  return std::move(*file);
}

Result<std::optional<CredentialFile>> read_optional_file(const CredentialFileRequest& request) {
  if (request.directory.empty()) return fail("Missing 'dir' property value");
  std::string path = fmt::format("{}/{}", request.directory, request.name);
  // O_NONBLOCK, since opening a pipe or a device could block.
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail(no_access(path, Errno::last()));
  if (!S_ISREG(status.st_mode)) return fail(fmt::format("Unable to access credentials {}: not a regular file", path));
  if (static_cast<std::uint64_t>(status.st_size) > kCredentialFileBytesMax) {
    return fail(fmt::format("Unable to access credentials {}: longer than {} bytes", path, kCredentialFileBytesMax));
  }
  std::optional<std::string> exposure = find_exposure(path, status, request.secrecy, geteuid());
  if (exposure && request.is_strict) return fail(fmt::format("Unable to use credentials {}: {}", path, *exposure));
  TRY_ASSIGN(SecretBytes content, read_whole(path, fd.get(), static_cast<std::size_t>(status.st_size)));
  return CredentialFile{.path = std::move(path), .content = std::move(content), .exposure = std::move(exposure)};
}

}  // namespace blockexport::net
