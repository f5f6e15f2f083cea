#include "aio/file/file_content.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <utility>

#include "aio/sync/with_deadline.h"

namespace blockexport::aio {
namespace {

// Reads a regular file or a block device, which have offsets.
Task<IoCount> read_by_offset(Reactor& reactor, int fd, std::span<std::byte> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    iovec rest{buffer.data() + filled, buffer.size() - filled};
    IoCount count = co_await reactor.read(fd, std::span(&rest, 1), filled);
    if (!count) co_return count;
    if (*count == 0) break;
    filled += *count;
  }
  co_return filled;
}

// Reads a pipe or a terminal; `fd` is non-blocking. It polls before the first read, since a read from a pipe that has
// had no writer yet would report its end.
Task<IoCount> read_in_order(Reactor& reactor, int fd, std::span<std::byte> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    auto ready = co_await reactor.poll(fd, POLLIN);
    if (!ready) co_return fail(ready.error());
    const ssize_t count = ::read(fd, buffer.data() + filled, buffer.size() - filled);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) co_return fail(Errno::last());
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  co_return filled;
}

// fstat(2), on a worker.
struct StatCall {
  int fd;
  struct stat status = {};

  static std::int64_t run(void* call) {
    auto& self = *static_cast<StatCall*>(call);
    return fstat(self.fd, &self.status) == 0 ? 0 : -errno;
  }
};

Task<IoCount> read_opened(Reactor& reactor, int fd, std::span<std::byte> buffer, struct stat* status) {
  StatCall stat_call{.fd = fd};
  auto result = co_await reactor.call(StatCall::run, &stat_call);
  if (!result) co_return fail(result.error());
  if (status != nullptr) *status = stat_call.status;
  const mode_t type = stat_call.status.st_mode & S_IFMT;
  if (type == S_IFDIR) co_return fail(EISDIR);
  if (type == S_IFREG || type == S_IFBLK) co_return co_await read_by_offset(reactor, fd, buffer);
  co_return co_await read_in_order(reactor, fd, buffer);
}

Task<IoCount> read_path(Reactor& reactor, const std::string& path, std::span<std::byte> buffer, struct stat* status) {
  auto fd = co_await reactor.open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) co_return fail(fd.error());
  IoCount filled = co_await read_opened(reactor, *fd, buffer, status);
  reactor.close_now(*fd);
  co_return filled;
}

}  // namespace

Task<IoCount> read_file_until(Reactor& reactor, std::string path, std::span<std::byte> buffer,
                              std::uint64_t deadline_ns, struct stat* status) {
  Task<IoCount> reading = read_path(reactor, path, buffer, status);
  auto [filled, is_late] = co_await with_deadline("reading a file", deadline_ns, std::move(reading));
  if (is_late && !filled && filled.error() == Errno(ECANCELED)) co_return fail(ETIMEDOUT);
  co_return filled;
}

}  // namespace blockexport::aio
