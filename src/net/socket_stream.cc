#include "net/socket_stream.h"

#include <poll.h>

#include <cassert>
#include <utility>

#include "net/listen.h"

namespace blockexport::net {

SocketStream::~SocketStream() {
  if (fd_ < 0) return;
  assert(reactor_ != nullptr);
  reactor_->close_now(fd_);
}

int SocketStream::release() {
  assert(reactor_ != nullptr && fd_ >= 0);
  reactor_->drop_watch(fd_);
  return std::exchange(fd_, -1);
}

aio::Task<IoResult> SocketStream::readable() {
  auto ready = co_await reactor_->poll(fd_, POLLIN);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> SocketStream::writable() {
  auto ready = co_await reactor_->poll(fd_, POLLOUT);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> SocketStream::hung_up() {
  auto ready = co_await reactor_->poll(fd_, POLLRDHUP);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

IoCount SocketStream::try_send_file(std::span<const iovec> head, int fd, std::uint64_t offset, std::uint64_t length) {
  if (!std::exchange(tuned_for_files_, true)) tune_for_files(fd_);
  return reactor_->try_send_file(fd_, head, fd, offset, length);
}

void SocketStream::detach() {
  reactor_->drop_watch(fd_);
  reactor_ = nullptr;
}

void SocketStream::attach(aio::Reactor& reactor) {
  reactor_ = &reactor;
  reactor_->keep_watch(fd_);
}

}  // namespace blockexport::net
