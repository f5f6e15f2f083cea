#include "client/serve/serve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/owned_fd.h"
#include "base/print.h"
#include "client/serve/child_process.h"
#include "client/serve/image_probe.h"
#include "client/serve/serve_plan.h"
#include "json/value.h"
#include "json/writer.h"

namespace blockexport::serve {
namespace {

constexpr std::string_view kDaemon = "blockexportd";
constexpr int kPollMs = 10;

// A directory of this command, with the file that tells when the daemon is ready, and perhaps its socket.
class PrivateDirectory {
 public:
  static Result<PrivateDirectory> make() {
    const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
    const char* const temporary = std::getenv("TMPDIR");
    const char* const parent = runtime != nullptr ? runtime : temporary != nullptr ? temporary : "/tmp";
    std::string path = fmt::format("{}/blockexport.XXXXXX", parent);
    if (mkdtemp(path.data()) == nullptr) {
      return fail(Error::system(fmt::format("Cannot make a directory in {}", parent), Errno(errno)));
    }
    return PrivateDirectory(std::move(path));
  }
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateDirectory& operator=(PrivateDirectory&&) = delete;
  ~PrivateDirectory() {
    if (path_.empty()) return;
    unlink(pidfile().c_str());
    unlink(socket().c_str());
    rmdir(path_.c_str());
  }

  std::string pidfile() const { return path_ + "/daemon.pid"; }
  std::string socket() const { return path_ + "/nbd.sock"; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The daemon beside this program, or the one of the PATH.
std::string daemon_program() {
  std::array<char, 4096> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) return std::string(kDaemon);
  const std::string_view self(path.data(), static_cast<std::size_t>(length));
  std::string beside = fmt::format("{}/{}", self.substr(0, self.rfind('/')), kDaemon);
  return access(beside.c_str(), X_OK) == 0 ? beside : std::string(kDaemon);
}

sigset_t awaited_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals, one);
  return signals;
}

// The number of a signal that asks for the end; 0: none came in that time.
int wait_for_signal(int timeout_ms) {
  const sigset_t signals = awaited_signals();
  const timespec timeout{.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  return signal > 0 && signal != SIGCHLD ? signal : 0;
}

// Waits until the exports can be used. False: a signal came meanwhile.
Result<bool> wait_until_ready(ChildProcess& daemon, const std::string& pidfile) {
  for (int waited_ms = 0; waited_ms < kStartLimitMs; waited_ms += kPollMs) {
    if (const auto code = daemon.poll()) {
      return fail(fmt::format("The server did not start (exit code {}); its messages stand above", *code));
    }
    if (access(pidfile.c_str(), F_OK) == 0) return true;
    if (wait_for_signal(kPollMs) != 0) return false;
  }
  return fail(fmt::format("The server was not ready in {} s", kStartLimitMs / 1000));
}

void announce(const ServeOptions& options, const ServePlan& plan, pid_t pid) {
  if (options.is_json) {
    json::Array uris;
    for (const std::string& uri : plan.uris) uris.push_back(uri);
    json::Object object{{"uris", std::move(uris)}, {"pid", static_cast<std::int64_t>(pid)}};
    print(stdout, "{}\n", json::to_string(json::Value(std::move(object))));
  } else {
    for (const std::string& uri : plan.uris) print(stdout, "{}\n", uri);
  }
  (void)std::fflush(stdout);
}

// Waits for the end of one of them; a signal ends both. The exit code.
int wait_for_end(ChildProcess& daemon, ChildProcess* command) {
  constexpr int kLongMs = 60'000;
  for (;;) {
    if (command != nullptr) {
      if (const auto code = command->poll()) return *code;
    }
    if (const auto code = daemon.poll()) return *code;
    const int signal = wait_for_signal(kLongMs);
    if (signal == 0) continue;
    if (command != nullptr) {
      command->send(signal);
      return command->wait();
    }
    daemon.send(SIGTERM);
    return daemon.wait();
  }
}

// The daemon leaves its sockets when it ends. Other files of these names belong to others.
void remove_sockets(const ServePlan& plan) {
  for (const std::string& path : plan.sockets) {
    struct stat status{};
    if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
  }
}

Result<int> serve_until_end(const ServeOptions& options, const ServePlan& plan, ChildProcess& daemon) {
  if (options.run.empty()) {
    announce(options, plan, daemon.pid());
    return wait_for_end(daemon, nullptr);
  }
  // The variables have the names that nbdkit gives them.
  ChildOptions shell{
      .arguments = {"/bin/sh", "-c", options.run},
      .environment = {{"uri", plan.uris.front()}, {"uris", fmt::format("{}", fmt::join(plan.uris, " "))}}};
  if (!plan.sockets.empty()) shell.environment.emplace_back("unixsocket", plan.sockets.front());
  TRY_ASSIGN(ChildProcess command, ChildProcess::start(shell));
  return wait_for_end(daemon, &command);
}

Result<int> run_daemon(const ServeOptions& options, const ServePlan& plan, const PrivateDirectory& directory) {
  std::vector<std::string> arguments{daemon_program()};
  arguments.insert(arguments.end(), plan.arguments.begin(), plan.arguments.end());
  arguments.insert(arguments.end(), {"--pidfile", directory.pidfile()});
  TRY_ASSIGN(ChildProcess daemon, ChildProcess::start({.arguments = std::move(arguments), .has_own_group = true}));
  TRY_ASSIGN(const bool is_ready, wait_until_ready(daemon, directory.pidfile()));
  if (!is_ready) {
    daemon.send(SIGTERM);
    return daemon.wait();
  }
  Result<int> code = serve_until_end(options, plan, daemon);
  daemon.send(SIGTERM);
  (void)daemon.wait();
  remove_sockets(plan);
  return code;
}

}  // namespace

Result<int> serve(const ServeOptions& options) {
  if (options.exits_with_parent) {
    const pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (parent == 1 || getppid() != parent) return fail("--exit-with-parent: the parent has ended already");
  }
  std::vector<ServedImage> images;
  for (const std::string& name : options.images) {
    TRY_ASSIGN(ServedImage image, probe_image(name));
    images.push_back(std::move(image));
  }
  TRY_ASSIGN(const PrivateDirectory directory, PrivateDirectory::make());
  const std::string& tls = options.tls_directory;
  const bool has_shared_keys =
      access((tls + "/ca-cert.pem").c_str(), F_OK) != 0 && access((tls + "/keys.psk").c_str(), F_OK) == 0;
  TRY_ASSIGN(const ServePlan plan, make_plan(options, images, directory.socket(), has_shared_keys));
  const sigset_t signals = awaited_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return run_daemon(options, plan, directory);
}

}  // namespace blockexport::serve
