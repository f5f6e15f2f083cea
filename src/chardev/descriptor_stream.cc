#include "chardev/descriptor_stream.h"

#include <poll.h>
#include <unistd.h>

#include <cstdint>

namespace blockexport::chardev {
namespace {

// How often a terminal that another job has in front is looked at.
constexpr std::uint64_t kBackgroundLookNs = 1'000'000'000;

// What is typed at a terminal is for the job in front. Reading it from another one stops that (SIGTTIN), or fails.
bool is_in_background(int fd) {
  const pid_t in_front = tcgetpgrp(fd);
  return in_front >= 0 && in_front != getpgrp();
}

}  // namespace

IoCount DescriptorStream::try_receive(std::span<std::byte> buffer) {
  if (shut_down_) return 0;
  if (input_ < 0 || is_in_background(input_)) return fail(EAGAIN);
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
  for (;;) {
    auto ready = co_await reactor_->poll(input_, POLLIN);
    if (!ready) co_return fail(ready.error());
    if (!is_in_background(input_)) co_return IoResult{};
    CO_TRY(co_await reactor_->sleep_until(reactor_->now_ns() + kBackgroundLookNs));
  }
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
