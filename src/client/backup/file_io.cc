#include "client/backup/file_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/printable.h"

namespace blockexport::backup {
namespace {

std::unexpected<Error> failed(std::string_view verb, const std::string& path) {
  const Errno cause = Errno::last();
  Error error = Error::system(fmt::format("cannot {} '{}'", verb, printable(path, 1024)), cause);
  if (cause.value() == ENOSPC || cause.value() == EDQUOT) {
    return fail(std::move(error).with_hint("Make space there, and run the command again."));
  }
  return fail(std::move(error));
}

}  // namespace

Result<NamedFile> open_file(const std::string& path, int flags) {
  // O_NONBLOCK, since opening a pipe could block.
  NamedFile file{.fd = OwnedFd(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666)), .path = path};
  struct stat status{};
  if (!file.fd || fstat(file.fd.get(), &status) != 0) return failed("open", path);
  if (!S_ISREG(status.st_mode)) return fail(fmt::format("'{}' is not a regular file", printable(path, 1024)));
  return file;
}

Result<> write_all(const NamedFile& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file.fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("write", file.path);
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<> read_all(const NamedFile& file, std::uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(file.fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read", file.path);
    if (count == 0) return fail(fmt::format("'{}' ends at byte {}", printable(file.path, 1024), offset));
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::uint64_t> size_of(const NamedFile& file) {
  // Gives the size of block devices too.
  const off_t end = ::lseek(file.fd.get(), 0, SEEK_END);
  if (end < 0) return failed("read the size of", file.path);
  return static_cast<std::uint64_t>(end);
}

Result<> resize(const NamedFile& file, std::uint64_t bytes) {
  if (bytes <= INT64_MAX && ::ftruncate(file.fd.get(), static_cast<off_t>(bytes)) == 0) return {};
  if (bytes > INT64_MAX) errno = EFBIG;
  return failed("resize", file.path);
}

Result<> sync(const NamedFile& file) {
  if (::fsync(file.fd.get()) == 0) return {};
  return failed("write", file.path);
}

Result<std::optional<std::string>> read_small_file(const std::string& path, std::size_t bytes_max) {
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
  TRY_ASSIGN(NamedFile file, open_file(path, O_RDONLY));
  TRY_ASSIGN(const std::uint64_t bytes, size_of(file));
  if (bytes > bytes_max) {
    return fail(fmt::format("'{}' is longer than {} bytes", printable(path, 1024), bytes_max));
  }
  std::string text(bytes, '\0');
  TRY(read_all(file, 0, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<> write_small_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  TRY(remove_file(temporary));
  {
    TRY_ASSIGN(NamedFile file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
    TRY(write_all(file, 0, std::as_bytes(std::span(text))));
    TRY(sync(file));
  }
  return rename_file(temporary, path, true);
}

Result<> rename_file(const std::string& from, const std::string& to, bool overwrites) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), overwrites ? 0 : RENAME_NOREPLACE) == 0) {
    return sync_directory(directory_of(to));
  }
  // Some file systems, such as NFS, cannot rename in this way.
  if (!overwrites && errno == EINVAL) {
    if (::link(from.c_str(), to.c_str()) == 0 && ::unlink(from.c_str()) == 0) return sync_directory(directory_of(to));
  }
  return failed("create", to);
}

Result<> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return failed("remove", path);
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_directory(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a directory, which is then as durable as they make it.
  if (fd && (::fsync(fd.get()) == 0 || errno == EINVAL || errno == EROFS)) return {};
  return failed("write", path);
}

bool is_all_zero(std::span<const std::byte> bytes) {
  // Compares the bytes with themselves, shifted by one.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace blockexport::backup
