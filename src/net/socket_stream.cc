#include "net/socket_stream.h"

#include <poll.h>

#include <utility>

namespace blockexport::net {

SocketStream::~SocketStream() {
  if (fd_ >= 0) reactor_.close_now(fd_);
}

aio::Task<IoResult> SocketStream::readable() {
  auto ready = co_await reactor_.poll(fd_, POLLIN);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> SocketStream::writable() {
  auto ready = co_await reactor_.poll(fd_, POLLOUT);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

aio::Task<IoResult> SocketStream::hung_up() {
  auto ready = co_await reactor_.poll(fd_, POLLRDHUP);
  if (!ready) co_return fail(ready.error());
  co_return IoResult{};
}

int SocketStream::release() {
  reactor_.drop_watch(fd_);
  return std::exchange(fd_, -1);
}

}  // namespace blockexport::net
