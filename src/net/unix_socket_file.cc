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

std::string name_of_peer(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) return "another process";
  return peer.pid == getpid() ? "this process" : fmt::format("process {}", peer.pid);
}

// Name of the process that listens at the address; nothing when none does. It never waits: a full queue, like every
// error except that of a socket without an owner, counts as a listening process.
std::optional<std::string> who_answers(const NumericAddress& address) {
  OwnedFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!caller) return "another process";
  if (connect(caller.get(), address.get(), address.length) == 0) return name_of_peer(caller.get());
  if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
  return "another process";
}

// Identity of the file that a socket was bound to. With CAP_NET_ADMIN, SIOCUNIXFILE returns a descriptor of it.
// Otherwise it is taken from the path, which is right unless another process has replaced the file since bind(2).
std::optional<FileIdentity> identity_of_name(int socket, const std::string& path) {
  OwnedFd file(ioctl(socket, SIOCUNIXFILE));
  if (auto identity = file ? FileIdentity::of_descriptor(file.get()) : std::nullopt) return identity;
  return FileIdentity::of_path(path);
}

}  // namespace

Result<UnixSocketFile> UnixSocketFile::bind(int socket, const std::string& path, const NumericAddress& address) {
  UnixSocketFile file(absolute_path(path));
  TRY(file.clear_path(path, address));
  if (::bind(socket, address.get(), address.length) != 0) {
    Error error = Error::system(fmt::format("Failed to bind socket to {}", path), Errno::last());
    file.put_back();
    return fail(std::move(error));
  }
  if (auto identity = identity_of_name(socket, path)) file.own_ = OwnedPath(path, *identity);
  return file;
}

Result<> UnixSocketFile::clear_path(const std::string& path, const NumericAddress& address) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return {};  // bind() reports other errors of the path
  TRY(check_socket(path, status));
  if (auto answering = who_answers(address)) {
    replaced_ = std::move(*answering);
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
