// Going to the background, and the file that tells the process ID.
// Main thread; before the reactor starts, but for release() and PidFile.
#pragma once

#include <string>

#include "base/error.h"
#include "base/owned_fd.h"
#include "base/owned_path.h"

namespace blockexport::daemon {

// The child's end of the pipe on which the parent waits to learn how the start went.
class Background {
 public:
  // Forks. The parent does not return: it exits with 0 once the child calls release(), or with 1 when the child ends
  // before. The child comes back in a session of its own.
  static Result<Background> enter();

  // Everything is set up: lets go of the terminal and tells the parent. Standard error stays where it is for the log,
  // but for a terminal, and for a pipe: whoever reads that waits for its end, as `log=$(blockexportd --daemonize)`
  // does.
  Result<> release();

 private:
  explicit Background(OwnedFd parent) : parent_(std::move(parent)) {}
  OwnedFd parent_;
};

// Locked while the process lives, removed when it ends in order and nobody else has put a file there meanwhile.
class PidFile {
 public:
  // Errors: another process holds it, or it cannot be made.
  static Result<PidFile> create(const std::string& path);

 private:
  PidFile(OwnedFd fd, OwnedPath path) : fd_(std::move(fd)), path_(std::move(path)) {}
  OwnedFd fd_;
  OwnedPath path_;  // goes before the lock does
};

// The file that --log-file names, for appending; made with mode 0640, less what the umask takes. It is never waited
// for: a pipe that nobody reads is an error. Errors: "Could not open log file 'PATH': ...".
Result<OwnedFd> open_log_file(const std::string& path);

}  // namespace blockexport::daemon
