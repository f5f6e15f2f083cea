// Daemonization (--daemonize), the PID file and the log file. Main thread; enter() and open_log_file() before the
// reactor starts.
#pragma once

#include <string>

#include "base/error.h"
#include "base/owned_fd.h"
#include "base/owned_path.h"

namespace blockexport::daemon {

// A background process: holds the child's end of the pipe on which the parent waits for the result of the start.
class Background {
 public:
  // Forks. It does not return in the parent, which exits with 0 once the child calls release(), or with 1 when the
  // child ends before. It returns in the child, which has a session of its own.
  static Result<Background> enter();

  // Called when the start is complete: detaches from the terminal and lets the parent exit. Standard error stays open
  // for the log, unless it is a terminal, or a pipe, whose reader may wait for its end, as in `log=$(blockexportd
  // --daemonize)`.
  Result<> release();
  // True if standard error still is what it was at the start.
  static bool keeps_standard_error();

 private:
  explicit Background(OwnedFd parent) : parent_(std::move(parent)) {}
  OwnedFd parent_;
};

// The PID file: locked as long as the process runs, and removed by an orderly shutdown unless another process has
// replaced it.
class PidFile {
 public:
  // Errors: another process has locked it, or it cannot be created.
  static Result<PidFile> create(const std::string& path);

 private:
  PidFile(OwnedFd fd, OwnedPath path) : fd_(std::move(fd)), path_(std::move(path)) {}
  OwnedFd fd_;
  OwnedPath path_;  // removed before fd_ closes, which releases the lock
};

// Opens the file of --log-file for appending; creates it with mode 0640 minus the umask. It never blocks: a pipe
// without reader is an error. Errors: "Could not open log file 'PATH': ...".
Result<OwnedFd> open_log_file(const std::string& path);

}  // namespace blockexport::daemon
