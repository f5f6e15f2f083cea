#include "control/directory_watch.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>

namespace blockexport::control {
namespace {

// A directory that never comes to rest is looked at after so many times the quiet that was waited for.
constexpr int kUnquietRoundsMax = 20;
constexpr std::uint32_t kChanges =
    IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

Result<DirectoryWatch> DirectoryWatch::open(aio::Reactor& reactor, std::string path) {
  DirectoryWatch made(reactor, std::move(path));
  made.fd_ = OwnedFd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!made.fd_) return fail(Error::system(fmt::format("Unable to watch {}", made.path_), Errno::last()));
  TRY(made.watch());
  return made;
}

Result<> DirectoryWatch::watch() {
  if (inotify_add_watch(fd_.get(), path_.c_str(), kChanges) >= 0) return {};
  return fail(Error::system(fmt::format("Unable to watch {}", path_), Errno::last()));
}

aio::Task<IoResult> DirectoryWatch::changed(std::uint64_t quiet_ns) {
  while (!take_events()) CO_TRY(co_await reactor_.poll(fd_.get(), POLLIN));
  for (int round = 0; round < kUnquietRoundsMax; ++round) {
    CO_TRY(co_await reactor_.sleep_until(reactor_.now_ns() + quiet_ns));
    if (!take_events()) break;
  }
  // The directory itself may be another one by now; where it is the same, this does nothing.
  (void)watch();
  co_return IoResult();
}

// Whether there were any.
bool DirectoryWatch::take_events() {
  bool found = false;
  alignas(inotify_event) std::array<char, 4096> events;
  while (::read(fd_.get(), events.data(), events.size()) > 0) found = true;
  return found;
}

}  // namespace blockexport::control
