// SocketStream: a Stream over a connected socket. Owns the descriptor; the destructor closes it, when no task waits on
// it and it is attached to a reactor. Thread: its reactor's.
#pragma once

#include "aio/reactor/reactor.h"
#include "base/owned_fd.h"
#include "net/stream.h"

namespace blockexport::net {

class SocketStream final : public Stream {
 public:
  // Takes ownership of `fd`, which is non-blocking.
  SocketStream(aio::Reactor& reactor, int fd) : reactor_(&reactor), fd_(fd) { reactor_->keep_watch(fd_); }
  ~SocketStream() override;
  SocketStream(const SocketStream&) = delete;
  SocketStream& operator=(const SocketStream&) = delete;

  IoCount try_receive(std::span<std::byte> buffer) override { return reactor_->try_receive(fd_, buffer); }
  IoCount try_send(std::span<const iovec> vectors) override { return reactor_->try_send(fd_, vectors); }
  bool can_send_files() const override { return true; }
  IoCount try_send_file(std::span<const iovec> head, int fd, std::uint64_t offset, std::uint64_t length) override;
  aio::Task<IoResult> readable() override;
  aio::Task<IoResult> writable() override;
  aio::Task<IoResult> hung_up() override;
  IoResult watch_hang_up(aio::HangUpWatch& watch) override { return reactor_->watch_hang_up(fd_, watch); }
  void forget_hang_up() override { reactor_->forget_hang_up(fd_); }
  void shut_down() override { reactor_->shut_down(fd_); }
  bool can_be_released() const override { return true; }
  int release() override;
  void detach() override;
  void attach(aio::Reactor& reactor) override;

 private:
  aio::Reactor* reactor_;  // null between detach() and attach()
  int fd_;                 // -1 once it was released
  bool tuned_for_files_ = false;
};

}  // namespace blockexport::net
