// DirectoryWatch: notifies a task of changes in a directory: a name was created, removed or renamed, or a file was
// written to and closed. It does not say which file has changed; the caller checks that.
//
// Owned by the waiting code; one waiter at a time. Thread: its reactor's. It uses inotify, which a simulation does not
// have; tests there use another source of changes. Never blocks.
#pragma once

#include <memory>
#include <string>

#include "aio/reactor/reactor.h"
#include "base/owned_fd.h"

namespace blockexport::aio {

class DirectoryWatch {
 public:
  // Errors: the directory does not exist, or the limit on inotify watches is reached; ECANCELED.
  static Task<std::expected<std::unique_ptr<DirectoryWatch>, Errno>> create(Reactor& reactor, std::string directory);
  ~DirectoryWatch();

  // Waits for a change since creation, or since the last call. ECANCELED; ENOENT: the directory itself was removed or
  // renamed, and no more changes will be reported.
  Task<IoResult> changed();

 private:
  DirectoryWatch(Reactor& reactor, OwnedFd fd) : reactor_(reactor), fd_(std::move(fd)) {}

  Reactor& reactor_;
  OwnedFd fd_;
};

}  // namespace blockexport::aio
