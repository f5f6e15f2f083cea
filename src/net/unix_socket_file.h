// UnixSocketFile: the path of a listening unix socket, with a takeover of the path from an older process.
//
// It uses a free path, or one with a stale socket. A socket on which a process listens is replaced only with
// PathInUse::kTakenOver, so that a newer daemon can follow an older one, and it is only renamed until settle(): a
// failed start restores it. Any other file is never changed. Owned by the Listener, whose socket stays open until the
// path is removed. Thread: the listener's; calls block in the file system.
#pragma once

#include <string>

#include "base/error.h"
#include "base/owned_path.h"
#include "net/resolve.h"

namespace blockexport::net {

// Treatment of a path at which a process listens.
enum class PathInUse : bool { kTakenOver, kRefused };

class UnixSocketFile {
 public:
  UnixSocketFile(UnixSocketFile&&) noexcept = default;
  UnixSocketFile& operator=(UnixSocketFile&&) = delete;
  ~UnixSocketFile() { remove(); }

  // Binds `socket` to `path`, which `address` contains. Errors: "Failed to unlink socket PATH: ..." when a file there
  // is no socket or cannot be moved, "Failed to bind socket to PATH: ...", "Unix socket PATH is in use: ..." (busy).
  static Result<UnixSocketFile> bind(int socket, const std::string& path, const NumericAddress& address,
                                     PathInUse path_in_use = PathInUse::kTakenOver);

  const std::string& path() const { return path_; }
  // The process that listened at the path: "process 4711", "this process", "another process"; empty when none did.
  const std::string& replaced() const { return replaced_; }

  // Makes the takeover final: removes the old socket.
  void settle() { set_aside_.remove(); }
  // Removes the path if it is still ours; before settle() it restores the old socket.
  void remove();
  // Keeps the path when this object is destroyed.
  void keep();

 private:
  explicit UnixSocketFile(std::string path) : path_(std::move(path)) {}
  Result<> clear_path(const std::string& path, const NumericAddress& address, PathInUse path_in_use);
  void put_back();

  std::string path_;  // absolute
  std::string replaced_;
  OwnedPath set_aside_;  // the replaced socket, under another name
  OwnedPath own_;
};

}  // namespace blockexport::net
