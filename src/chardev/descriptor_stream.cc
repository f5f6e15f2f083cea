#include "chardev/descriptor_stream.h"

#include <poll.h>
#include <unistd.h>

#include <cstdint>

#include "aio/sync/scope.h"

namespace blockexport::chardev {
namespace {

// Interval at which a background job checks whether it is in the foreground again.
constexpr std::uint64_t kBackgroundPollNs = 1'000'000'000;

// True if this process is in the background of the terminal `fd`. A read from there would stop it (SIGTTIN), or fail.
bool is_in_background(int fd) {
  const pid_t in_front = tcgetpgrp(fd);
  return in_front >= 0 && in_front != getpgrp();
}

// Polls `fd` and sets `over` when it is ready or failed. Without a descriptor it waits until it is cancelled.
aio::Task<void> poll_and_notify(aio::Reactor& reactor, int fd, std::uint32_t events, IoResult& result,
                                aio::Event& over) {
  if (fd < 0) {
    result = co_await reactor.sleep_until(UINT64_MAX);
  } else {
    auto ready = co_await reactor.poll(fd, events);
    result = ready ? IoResult() : fail(ready.error());
  }
  over.set();
}

}  // namespace

IoCount DescriptorStream::try_receive(std::span<std::byte> buffer) {
  if (shut_down_) return 0;
  // A read from a pipe that has had no writer yet would report the end; a poll waits for the first writer.
  if (input_ < 0 || awaits_writer_ || is_in_background(input_)) return fail(EAGAIN);
  ssize_t count;
  do {
    count = ::read(input_, buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail(Errno::last());
  return static_cast<std::size_t>(count);
}

IoCount DescriptorStream::try_send(std::span<const iovec> vectors) {
  if (shut_down_) return fail(EPIPE);
  if (output_ >= 0) {
    ssize_t count;
    do {
      count = ::writev(output_, vectors.data(), static_cast<int>(vectors.size()));
    } while (count < 0 && errno == EINTR);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EAGAIN) return fail(EAGAIN);
  }
  std::size_t swallowed = 0;
  for (const iovec& vector : vectors) swallowed += vector.iov_len;
  return swallowed;
}

aio::Task<IoResult> DescriptorStream::readable() {
  for (;;) {
    IoResult ready = co_await wait_for(input_, POLLIN, reader_);
    awaits_writer_ = false;
    if (!ready || shut_down_ || !is_in_background(input_)) co_return ready;
    CO_TRY(co_await reactor_->sleep_until(reactor_->now_ns() + kBackgroundPollNs));
  }
}

aio::Task<IoResult> DescriptorStream::writable() {
  return wait_for(output_, POLLOUT, writer_);
}

aio::Task<IoResult> DescriptorStream::hung_up() {
  return wait_for(-1, 0, watcher_);
}

aio::Task<IoResult> DescriptorStream::wait_for(int fd, std::uint32_t events, Wake& wake) {
  if (shut_down_) co_return IoResult{};
  IoResult result;
  aio::Event over(*reactor_);
  aio::Scope polling(*reactor_);
  wake = &over;
  polling.spawn("chardev poll", poll_and_notify(*reactor_, fd, events, result, over));
  IoResult waited = co_await over.wait();
  wake = nullptr;
  polling.cancel();
  co_await polling.join();
  if (!waited || shut_down_) co_return waited;
  co_return result;
}

void DescriptorStream::shut_down() {
  shut_down_ = true;
  for (Wake wake : {reader_, writer_, watcher_}) {
    if (wake != nullptr) wake->set();
  }
}

}  // namespace blockexport::chardev
