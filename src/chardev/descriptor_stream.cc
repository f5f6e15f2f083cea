#include "chardev/descriptor_stream.h"

#include <poll.h>
#include <unistd.h>

#include <cstdint>

namespace blockexport::chardev {

IoCount DescriptorStream::try_receive(std::span<std::byte> buffer) {
  if (shut_down_) return 0;
  if (input_ < 0) return fail(EAGAIN);
  ssize_t count;
  do {
    count = ::read(input_, buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail(Errno::last());
  return static_cast<std::size_t>(count);
}

IoCount DescriptorStream::try_send(std::span<const iovec> vectors) {
  if (shut_down_) return fail(EPIPE);
  if (output_ < 0) {
    std::size_t swallowed = 0;
    for (const iovec& vector : vectors) swallowed += vector.iov_len;
    return swallowed;
  }
  ssize_t count;
  do {
    count = ::writev(output_, vectors.data(), static_cast<int>(vectors.size()));
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail(Errno::last());
  return static_cast<std::size_t>(count);
}

aio::Task<IoResult> DescriptorStream::readable() {
  // Without input there is nothing to wait for but the end of the task.
  if (input_ < 0) co_return co_await reactor_->sleep_until(UINT64_MAX);
  auto ready = co_await reactor_->poll(input_, POLLIN);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> DescriptorStream::writable() {
  auto ready = co_await reactor_->poll(output_, POLLOUT);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> DescriptorStream::hung_up() {
  co_return co_await reactor_->sleep_until(UINT64_MAX);
}

}  // namespace blockexport::chardev
