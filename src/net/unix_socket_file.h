// UnixSocketFile: the name in the file system under which a listening unix socket is reached.
//
// A name that is free or that a dead socket left is taken. A socket on which somebody answers gives way too, so that a
// newer daemon can follow an older one, but it waits aside until settle(): a start that fails gives it back. What is no
// socket is never touched. Owned by the Listener, whose socket stays open until the name has gone. Thread: the
// listener's; calls wait for the file system.
#pragma once

#include <string>

#include "base/error.h"
#include "base/owned_path.h"
#include "net/resolve.h"

namespace blockexport::net {

class UnixSocketFile {
 public:
  UnixSocketFile(UnixSocketFile&&) noexcept = default;
  UnixSocketFile& operator=(UnixSocketFile&&) = delete;
  ~UnixSocketFile() { remove(); }

  // Binds `socket` to `path`, which `address` holds. Errors: "Failed to unlink socket PATH: ..." where something stands
  // that is no socket or cannot be moved, "Failed to bind socket to PATH: ...".
  static Result<UnixSocketFile> bind(int socket, const std::string& path, const NumericAddress& address);

  // Who listened at the path and answered: "process 4711", "this process", "another process"; empty when nobody did.
  const std::string& replaced() const { return replaced_; }

  // From now on the name is ours: the socket that gave way has gone.
  void settle() { given_way_.remove(); }
  // Removes the name if it is still ours; before settle() the socket that gave way comes back.
  void remove();
  // The name stays where it is when we go.
  void keep();

 private:
  explicit UnixSocketFile(std::string path) : path_(std::move(path)) {}
  Result<> make_room(const std::string& path, const NumericAddress& address);
  void put_back();

  std::string path_;  // absolute
  std::string replaced_;
  OwnedPath given_way_;  // the socket that answered, under another name
  OwnedPath own_;
};

}  // namespace blockexport::net
