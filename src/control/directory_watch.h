// DirectoryWatch: tells when something in a directory has changed: files that were written, replaced or removed there.
//
// Owned by the object that uses the files; one task waits in changed(). Thread: the control reactor. It never says what
// has changed: who watches looks for himself.
#pragma once

#include <string>

#include "aio/reactor.h"
#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport::control {

class DirectoryWatch {
 public:
  // Errors: "Unable to watch PATH: REASON".
  static Result<DirectoryWatch> open(aio::Reactor& reactor, std::string path);

  // Waits for a change, and then until nothing has changed for `quiet_ns`: files that belong together are replaced one
  // by one. A change since the last call counts. ECANCELED when the task was cancelled.
  aio::Task<IoResult> changed(std::uint64_t quiet_ns);

 private:
  DirectoryWatch(aio::Reactor& reactor, std::string path) : reactor_(reactor), path_(std::move(path)) {}
  Result<> watch();
  bool take_events();

  aio::Reactor& reactor_;
  std::string path_;
  OwnedFd fd_;
};

}  // namespace blockexport::control
