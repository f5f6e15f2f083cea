#include "aio/file_content.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <utility>

#include "aio/time_limit.h"

namespace blockexport::aio {
namespace {

// A regular file or a disk: what offsets make sense in.
Task<IoCount> read_by_offset(Reactor& reactor, int fd, std::span<std::byte> room) {
  std::size_t filled = 0;
  while (filled < room.size()) {
    iovec rest{room.data() + filled, room.size() - filled};
    IoCount count = co_await reactor.read(fd, std::span(&rest, 1), filled);
    if (!count) co_return count;
    if (*count == 0) break;
    filled += *count;
  }
  co_return filled;
}

// A pipe, a terminal: `fd` is non-blocking. The first look is the kernel's: a read of a pipe that had no writer yet
// would say that it is at its end.
Task<IoCount> read_in_order(Reactor& reactor, int fd, std::span<std::byte> room) {
  std::size_t filled = 0;
  while (filled < room.size()) {
    auto ready = co_await reactor.poll(fd, POLLIN);
    if (!ready) co_return fail(ready.error());
    const ssize_t count = ::read(fd, room.data() + filled, room.size() - filled);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) co_return fail(Errno::last());
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  co_return filled;
}

// fstat(2), on a worker.
struct Look {
  int fd;
  struct stat status = {};

  static std::int64_t take(void* look) {
    auto& self = *static_cast<Look*>(look);
    return fstat(self.fd, &self.status) == 0 ? 0 : -errno;
  }
};

Task<IoCount> read_opened(Reactor& reactor, int fd, std::span<std::byte> room, struct stat* status) {
  Look look{.fd = fd};
  auto looked = co_await reactor.call(Look::take, &look);
  if (!looked) co_return fail(looked.error());
  if (status != nullptr) *status = look.status;
  const mode_t type = look.status.st_mode & S_IFMT;
  if (type == S_IFDIR) co_return fail(EISDIR);
  if (type == S_IFREG || type == S_IFBLK) co_return co_await read_by_offset(reactor, fd, room);
  co_return co_await read_in_order(reactor, fd, room);
}

Task<void> read_into(Reactor& reactor, const std::string& path, std::span<std::byte> room, struct stat* status,
                     IoCount& result) {
  auto fd = co_await reactor.open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) {
    result = fail(fd.error());
    co_return;
  }
  result = co_await read_opened(reactor, *fd, room, status);
  reactor.close_now(*fd);
}

}  // namespace

Task<IoCount> read_file_until(Reactor& reactor, std::string path, std::span<std::byte> room, std::uint64_t deadline_ns,
                              struct stat* status) {
  IoCount result = fail(ECANCELED);
  Task<void> reading = read_into(reactor, path, room, status, result);
  const bool is_late = co_await run_within(reactor, "reading a file", deadline_ns, std::move(reading));
  if (is_late && !result && result.error() == Errno(ECANCELED)) co_return fail(ETIMEDOUT);
  co_return result;
}

}  // namespace blockexport::aio
