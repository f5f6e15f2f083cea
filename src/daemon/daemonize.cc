#include "daemon/daemonize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

namespace blockexport::daemon {
namespace {

[[noreturn]] void wait_for_child(OwnedFd child) {
  unsigned char status = 1;
  ssize_t count;
  do {
    count = ::read(child.get(), &status, 1);
  } while (count < 0 && errno == EINTR);
  // Nothing was written: the child has ended, and has printed the reason.
  _exit(count == 1 ? status : 1);
}

bool stays_in_background(int fd) {
  struct stat status{};
  return isatty(fd) == 0 && fstat(fd, &status) == 0 && !S_ISFIFO(status.st_mode);
}

// Most attempts to open a PID file that its owner, which is ending, has removed between our open and our lock.
constexpr int kPidFileTriesMax = 100;

struct LockedFile {
  OwnedFd fd;
  FileIdentity identity;
};

// Opens and locks the file at `path`. Between the two, its previous owner may remove it: then the locked file is not
// the one at `path`, and it tries again.
Result<LockedFile> open_locked(const std::string& path) {
  for (int tries = 0; tries < kPidFileTriesMax; ++tries) {
    OwnedFd fd(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
    if (!fd) return fail(Error::system(fmt::format("Could not create '{}'", path), Errno::last()));
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd.get(), F_SETLK, &lock) != 0) return fail(Error::system("Cannot lock pid file", Errno::last()));
    struct stat opened{};
    struct stat there{};
    if (fstat(fd.get(), &opened) != 0) return fail(Error::system("Cannot stat file", Errno::last()));
    if (stat(path.c_str(), &there) == 0 && there.st_dev == opened.st_dev && there.st_ino == opened.st_ino) {
      return LockedFile{.fd = std::move(fd), .identity = {.device = opened.st_dev, .inode = opened.st_ino}};
    }
  }
  return fail(Error::system("Cannot lock pid file", Errno(EAGAIN)));
}

}  // namespace

Result<Background> Background::enter() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail(Error::system("cannot create a pipe", Errno::last()));
  OwnedFd reading(ends[0]);
  OwnedFd writing(ends[1]);
  pid_t first = fork();
  if (first < 0) return fail(Error::system("cannot fork", Errno::last()));
  if (first > 0) {
    writing.reset();
    wait_for_child(std::move(reading));
  }
  setsid();
  // The second child is no session leader, so it can never get a terminal again.
  pid_t second = fork();
  if (second != 0) _exit(second < 0 ? 1 : 0);
  umask(027);
  signal(SIGTSTP, SIG_IGN);
  return Background(std::move(writing));
}

bool Background::keeps_standard_error() {
  return stays_in_background(STDERR_FILENO);
}

Result<> Background::release() {
  if (chdir("/") != 0) return fail(Error::system("not able to chdir to /", Errno::last()));
  OwnedFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return fail(Error::system("cannot open /dev/null", Errno::last()));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO}) dup2(nothing.get(), fd);
  if (!keeps_standard_error()) dup2(nothing.get(), STDERR_FILENO);
  unsigned char success = 0;
  if (::write(parent_.get(), &success, 1) != 1) return fail("the parent process has gone");
  parent_.reset();
  return {};
}

Result<PidFile> PidFile::create(const std::string& path) {
  const auto prefixed = [](Error error) { return fail(std::move(error).with_prefix("cannot create PID file: ")); };
  auto file = open_locked(path);
  if (!file) return prefixed(std::move(file).error());
  const int fd = file->fd.get();
  std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return prefixed(Error::system("Failed to write pid file", Errno::last()));
  }
  // The target of symbolic links: we own the file, not the links.
  char resolved[PATH_MAX];
  OwnedPath owned(realpath(path.c_str(), resolved) != nullptr ? resolved : path, file->identity);
  return PidFile(std::move(file->fd), std::move(owned));
}

Result<OwnedFd> open_log_file(const std::string& path) {
  OwnedFd fd(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640));
  if (!fd) {
    return fail(Error::system(fmt::format("Could not open log file '{}'", path), Errno::last())
                    .with_hint("--log-file appends to a file; its directory has to exist, and to be writable"));
  }
  return fd;
}

}  // namespace blockexport::daemon
