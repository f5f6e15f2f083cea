#include "net/unix_socket_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "base/absolute_path.h"
#include "base/owned_fd.h"
#include "base/printable.h"

namespace blockexport::net {
namespace {

Error cannot_unlink(const std::string& path, Errno cause) {
  return Error::system(fmt::format("Failed to unlink socket {}", path), cause);
}

// A link to a socket counts as a socket, and is replaced like one.
Result<> check_socket(const std::string& path, const struct stat& status) {
  struct stat target = status;
  if (S_ISLNK(status.st_mode) && stat(path.c_str(), &target) != 0) target = status;
  if (S_ISSOCK(target.st_mode)) return {};
  if (S_ISDIR(target.st_mode)) return fail(cannot_unlink(path, Errno(EISDIR)));
  return fail(Error(fmt::format("Failed to unlink socket {}: it is not a socket", path))
                  .with_hint("Only sockets are replaced: move the file away, or listen on another path"));
}

// Process that listens on the other side of a connection; 0 when it is unknown, as in another PID namespace.
pid_t peer_of(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) return 0;
  return peer.pid;
}

// "process 4711", "this process", "another process".
std::string name_of(pid_t process) {
  if (process == 0) return "another process";
  return process == getpid() ? "this process" : fmt::format("process {}", process);
}

// The same, with the name of the program where the kernel tells it: "process 4711 (blockexportd)".
std::string full_name_of(pid_t process) {
  std::string name = name_of(process);
  const OwnedFd file(process == 0 ? -1 : open(fmt::format("/proc/{}/comm", process).c_str(), O_RDONLY | O_CLOEXEC));
  char program[32];
  const ssize_t length = file ? read(file.get(), program, sizeof program) : 0;
  if (process == getpid() || length <= 1) return name;
  return fmt::format("{} ({})", name, printable(std::string_view(program, static_cast<std::size_t>(length - 1))));
}

// The process that listens at the address, 0 when it is unknown; nothing when none does. It never waits: a full queue,
// like every error except that of a socket without an owner, counts as a listening process.
std::optional<pid_t> who_answers(const NumericAddress& address) {
  OwnedFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!caller) return 0;
  if (connect(caller.get(), address.get(), address.length) == 0) return peer_of(caller.get());
  if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
  return 0;
}

// Identity of the file that a socket was bound to. With CAP_NET_ADMIN, SIOCUNIXFILE returns a descriptor of it.
// Otherwise it is taken from the path, which is right unless another process has replaced the file since bind(2).
std::optional<FileIdentity> identity_of_name(int socket, const std::string& path) {
  OwnedFd file(ioctl(socket, SIOCUNIXFILE));
  if (auto identity = file ? FileIdentity::of_descriptor(file.get()) : std::nullopt) return identity;
  return FileIdentity::of_path(path);
}

}  // namespace

Result<UnixSocketFile> UnixSocketFile::bind(int socket, const std::string& path, const NumericAddress& address,
                                            PathInUse path_in_use) {
  UnixSocketFile file(absolute_path(path));
  TRY(file.clear_path(path, address, path_in_use));
  if (::bind(socket, address.get(), address.length) != 0) {
    Error error = Error::system(fmt::format("Failed to bind socket to {}", path), Errno::last());
    file.put_back();
    return fail(std::move(error));
  }
  if (auto identity = identity_of_name(socket, path)) file.own_ = OwnedPath(path, *identity);
  return file;
}

Result<> UnixSocketFile::clear_path(const std::string& path, const NumericAddress& address, PathInUse path_in_use) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return {};  // bind() reports other errors of the path
  TRY(check_socket(path, status));
  if (auto answering = who_answers(address)) {
    if (path_in_use == PathInUse::kRefused) {
      return fail(
          Error(fmt::format("Unix socket {} is in use: {} listens on it", path, full_name_of(*answering)))
              .with_hint(
                  "Stop that process or server, or listen on another path. A socket that no process listens on is "
                  "replaced.")
              .as_busy());
    }
    replaced_ = name_of(*answering);
    std::string aside = fmt::format("{}.{}.replaced", path_, getpid());
    if (renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE) == 0) {
      set_aside_ = OwnedPath(aside, {.device = status.st_dev, .inode = status.st_ino});
      return {};
    }
    // The file system does not support it, or the name is too long: then the old socket cannot be restored.
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail(cannot_unlink(path, Errno::last()));
  return {};
}

// Restores the old socket only if the path is free or ours: a third, newer socket stays.
void UnixSocketFile::put_back() {
  if (!set_aside_.is_ours()) return set_aside_.keep();
  const unsigned flags = own_.is_ours() ? 0 : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, set_aside_.path().c_str(), AT_FDCWD, path_.c_str(), flags) == 0) return set_aside_.keep();
  set_aside_.remove();
}

void UnixSocketFile::remove() {
  if (set_aside_) put_back();
  own_.remove();
}

void UnixSocketFile::keep() {
  settle();
  own_.keep();
}

}  // namespace blockexport::net
