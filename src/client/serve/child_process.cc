#include "client/serve/child_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace blockexport::serve {
namespace {

constexpr int kCannotExecute = 127;

[[noreturn]] void become(const ChildOptions& options, std::vector<char*>& arguments, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  // The parent may have ended before the call.
  if (getppid() != parent) _exit(kCannotExecute);
  if (options.has_own_group) setpgid(0, 0);
  for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvp(arguments.front(), arguments.data());
  const std::string text =
      Error::system(fmt::format("blockexport: Cannot run {}", arguments.front()), Errno(errno)).message() + "\n";
  (void)!write(STDERR_FILENO, text.data(), text.size());
  _exit(kCannotExecute);
}

int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalledBase + WTERMSIG(status);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const ChildOptions& options) {
  std::vector<char*> arguments;
  for (const std::string& one : options.arguments) arguments.push_back(const_cast<char*>(one.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return fail(Error::system("Cannot start a process", Errno(errno)));
  if (pid == 0) become(options, arguments, parent);
  return ChildProcess(pid);
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0 || code_) return;
  send(SIGTERM);
  (void)wait();
}

void ChildProcess::send(int signal) const {
  if (!code_) kill(pid_, signal);
}

std::optional<int> ChildProcess::poll() {
  int status = 0;
  if (!code_ && waitpid(pid_, &status, WNOHANG) == pid_) code_ = code_of(status);
  return code_;
}

int ChildProcess::wait() {
  int status = 0;
  while (!code_) {
    if (waitpid(pid_, &status, 0) == pid_) {
      code_ = code_of(status);
    } else if (errno != EINTR) {
      code_ = kCannotExecute;
    }
  }
  return *code_;
}

}  // namespace blockexport::serve
