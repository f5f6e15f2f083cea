// ChildProcess: a program that this process starts, and that ends with it.
//
// Thread: the main thread, with SIGCHLD blocked. The destructor ends the program, and waits for its end.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace blockexport::serve {

// Exit code of a shell for a program that a signal ended: this and the number of the signal.
inline constexpr int kSignalledBase = 128;

struct ChildOptions {
  std::vector<std::string> arguments;                                 // with the program
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to that of this process
  bool has_own_group = false;                                         // signals of the terminal do not reach it
};

class ChildProcess {
 public:
  static Result<ChildProcess> start(const ChildOptions& options);
  ChildProcess(ChildProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)), code_(other.code_) {}
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  // The exit code if it has ended. Does not wait.
  std::optional<int> poll();
  // Waits for its end.
  int wait();

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  pid_t pid_;
  std::optional<int> code_;
};

}  // namespace blockexport::serve
