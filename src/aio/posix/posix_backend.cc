#include "aio/posix/posix_backend.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <climits>

#include "aio/posix/file_map.h"
#include "aio/posix/retry.h"
#include "aio/posix/traced.h"
#include "aio/posix/transfer_flags.h"

namespace blockexport::aio::posix {
namespace {

IoCount as_count(std::int64_t result) {
  if (result < 0) return fail(static_cast<int>(-result));
  return static_cast<std::size_t>(result);
}

// Limited to what one call accepts; the transfer is then short, as any transfer may be.
int count_of(std::span<const iovec> vectors) {
  return static_cast<int>(std::min<std::size_t>(vectors.size(), IOV_MAX));
}

}  // namespace

std::uint64_t PosixBackend::times_waited() const {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}

std::uint64_t PosixBackend::times_preempted() const {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nivcsw);
}

bool PosixBackend::has_waited_since(std::uint64_t before) const {
  return times_waited() > before && !is_traced();
}

IoCount PosixBackend::try_receive(int fd, std::span<std::byte> buffer) {
  return as_count(retry([&] { return calls_.recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT); }));
}

IoCount PosixBackend::try_send(int fd, std::span<const iovec> vectors) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(vectors.data());
  message.msg_iovlen = static_cast<std::size_t>(count_of(vectors));
  return as_count(retry([&] { return calls_.sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); }));
}

IoCount PosixBackend::try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Caching caching) {
  const int flags = RWF_NOWAIT | caching_flag(caching);
  return as_count(
      retry([&] { return calls_.preadv2(fd, vectors.data(), count_of(vectors), static_cast<off_t>(offset), flags); }));
}

IoCount PosixBackend::try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) {
  return as_count(
      retry([&] { return calls_.preadv2(fd, vectors.data(), count_of(vectors), static_cast<off_t>(offset), 0); }));
}

IoCount PosixBackend::try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) {
  return as_count(
      retry([&] { return calls_.pwritev2(fd, vectors.data(), count_of(vectors), static_cast<off_t>(offset), 0); }));
}

IoResult PosixBackend::try_stat(int fd, FileInfo& info) {
  std::int64_t result = stat_file(fd, info);
  if (result < 0) return fail(static_cast<int>(-result));
  return {};
}

std::expected<int, Errno> PosixBackend::try_accept(int fd) {
  std::int64_t result = retry([&] { return accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
  if (result < 0) return fail(static_cast<int>(-result));
  return static_cast<int>(result);
}

void PosixBackend::shut_down(int fd) {
  ::shutdown(fd, SHUT_RDWR);
}

void PosixBackend::close(int fd) {
  ::close(fd);
}

void PosixBackend::close_file(int fd) {
  ::close(fd);
}

}  // namespace blockexport::aio::posix
