// DirectoryWatch: tells a task that something in a directory has changed: a name came, went or was renamed, or a file
// was written to and closed. What has changed it does not tell; its user looks.
//
// Owned by whoever waits; one waiter at a time. Thread: its reactor's. It uses the host's inotify, so a simulation has
// none: what is tested there takes changes from elsewhere. Never blocks.
#pragma once

#include <memory>
#include <string>

#include "aio/reactor.h"
#include "base/owned_fd.h"

namespace blockexport::aio {

class DirectoryWatch {
 public:
  // Errors: there is no such directory, or the system gives no watch; ECANCELED.
  static Task<std::expected<std::unique_ptr<DirectoryWatch>, Errno>> create(Reactor& reactor, std::string directory);
  ~DirectoryWatch();

  // Waits for a change since creation, or since the last time. ECANCELED; ENOENT: the directory itself was removed or
  // renamed, and no more will come.
  Task<IoResult> changed();

 private:
  DirectoryWatch(Reactor& reactor, OwnedFd fd) : reactor_(reactor), fd_(std::move(fd)) {}

  Reactor& reactor_;
  OwnedFd fd_;
};

}  // namespace blockexport::aio
