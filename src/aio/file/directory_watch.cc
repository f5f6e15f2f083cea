#include "aio/file/directory_watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <span>

namespace blockexport::aio {
namespace {

constexpr std::uint32_t kNames = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
constexpr std::uint32_t kContents = IN_CLOSE_WRITE | IN_ATTRIB;
constexpr std::uint32_t kItself = IN_DELETE_SELF | IN_MOVE_SELF;
constexpr std::uint32_t kGone = kItself | IN_IGNORED | IN_UNMOUNT;
constexpr std::size_t kEventsBytes = 4096;  // size of one read; an event takes at most 272

// True if one of the events says that no more will follow.
bool is_gone(std::span<const char> events) {
  while (!events.empty()) {
    inotify_event event;
    std::memcpy(&event, events.data(), sizeof event);
    if ((event.mask & kGone) != 0) return true;
    events = events.subspan(sizeof event + event.len);
  }
  return false;
}

// Runs on a worker: inotify_add_watch(2) may wait for the file system.
struct Beginning {
  std::string directory;
  OwnedFd fd = {};

  static std::int64_t begin(void* beginning) {
    auto& self = *static_cast<Beginning*>(beginning);
    OwnedFd fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!fd) return -errno;
    if (inotify_add_watch(fd.get(), self.directory.c_str(), kNames | kContents | kItself | IN_ONLYDIR) < 0) {
      return -errno;
    }
    self.fd = std::move(fd);
    return 0;
  }
};

}  // namespace

Task<std::expected<std::unique_ptr<DirectoryWatch>, Errno>> DirectoryWatch::create(Reactor& reactor,
                                                                                   std::string directory) {
  auto beginning = std::make_shared<Beginning>();
  beginning->directory = std::move(directory);
  const std::shared_ptr<void> shared = beginning;
  auto begun = co_await reactor.call_abandonably(&Beginning::begin, shared);
  if (!begun) co_return fail(begun.error());
  co_return std::unique_ptr<DirectoryWatch>(new DirectoryWatch(reactor, std::move(beginning->fd)));
}

DirectoryWatch::~DirectoryWatch() = default;

Task<IoResult> DirectoryWatch::changed() {
  alignas(inotify_event) std::array<char, kEventsBytes> events;
  for (;;) {
    // Never waits: the descriptor is non-blocking.
    ssize_t count = ::read(fd_.get(), events.data(), events.size());
    if (count > 0) {
      if (is_gone(std::span(events.data(), static_cast<std::size_t>(count)))) co_return fail(ENOENT);
      co_return IoResult{};
    }
    if (count < 0 && errno != EAGAIN && errno != EINTR) co_return fail(Errno::last());
    auto ready = co_await reactor_.poll(fd_.get(), POLLIN);
    if (!ready) co_return fail(ready.error());
  }
}

}  // namespace blockexport::aio
