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

// A link to a socket counts as one: it gives way as the socket itself would.
Result<> check_socket(const std::string& path, const struct stat& status) {
  struct stat target = status;
  if (S_ISLNK(status.st_mode) && stat(path.c_str(), &target) != 0) target = status;
  if (S_ISSOCK(target.st_mode)) return {};
  if (S_ISDIR(target.st_mode)) return fail(cannot_unlink(path, Errno(EISDIR)));
  return fail(Error(fmt::format("Failed to unlink socket {}: it is not a socket", path))
                  .with_hint("What is not a socket is never removed: move it away, or listen on another path"));
}

std::string name_of_peer(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) return "another process";
  return peer.pid == getpid() ? "this process" : fmt::format("process {}", peer.pid);
}

// Who listens there; nothing when nobody does. It never waits: a full queue is an answer too, as is every other error
// but the one of a socket that nobody has open any longer.
std::optional<std::string> who_answers(const NumericAddress& address) {
  OwnedFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!caller) return "another process";
  if (connect(caller.get(), address.get(), address.length) == 0) return name_of_peer(caller.get());
  if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
  return "another process";
}

// The identity of the name that a socket was bound to. The kernel opens the file itself for those who may administer
// the network. For others it is the one that has just been made, unless another process has taken the path within
// these two calls.
std::optional<FileIdentity> identity_of_name(int socket, const std::string& path) {
  OwnedFd file(ioctl(socket, SIOCUNIXFILE));
  if (auto identity = file ? FileIdentity::of_descriptor(file.get()) : std::nullopt) return identity;
  return FileIdentity::of_path(path);
}

}  // namespace

Result<UnixSocketFile> UnixSocketFile::bind(int socket, const std::string& path, const NumericAddress& address) {
  UnixSocketFile file(absolute_path(path));
  TRY(file.make_room(path, address));
  if (::bind(socket, address.get(), address.length) != 0) {
    Error error = Error::system(fmt::format("Failed to bind socket to {}", path), Errno::last());
    file.put_back();
    return fail(std::move(error));
  }
  if (auto identity = identity_of_name(socket, path)) file.own_ = OwnedPath(path, *identity);
  return file;
}

Result<> UnixSocketFile::make_room(const std::string& path, const NumericAddress& address) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return {};  // what is wrong with the path, bind() says
  TRY(check_socket(path, status));
  if (auto answering = who_answers(address)) {
    replaced_ = std::move(*answering);
    std::string aside = fmt::format("{}.{}.replaced", path_, getpid());
    if (renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE) == 0) {
      given_way_ = OwnedPath(aside, {.device = status.st_dev, .inode = status.st_ino});
      return {};
    }
    // The file system cannot do that, or the name is too long: then it cannot be given back.
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail(cannot_unlink(path, Errno::last()));
  return {};
}

// Nobody is at the path, or we are: a newer socket than ours is not replaced by an older one.
void UnixSocketFile::put_back() {
  if (!given_way_.is_ours()) return given_way_.keep();
  const unsigned flags = own_.is_ours() ? 0 : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, given_way_.path().c_str(), AT_FDCWD, path_.c_str(), flags) == 0) return given_way_.keep();
  given_way_.remove();
}

void UnixSocketFile::remove() {
  if (given_way_) put_back();
  own_.remove();
}

void UnixSocketFile::keep() {
  settle();
  own_.keep();
}

}  // namespace blockexport::net
