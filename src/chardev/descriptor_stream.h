// DescriptorStream: a Stream over a pair of descriptors that are no socket (a terminal, a pipe, a file).
//
// The descriptors are borrowed and are non-blocking if possible. A descriptor of -1 never has input, or discards all
// output. Output that cannot be written, to a pipe without reader or a full disk, is dropped: a reader may come back,
// and input continues. Thread: the control reactor's; a regular file may make a call wait for the disk.
#pragma once

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "net/stream.h"

namespace blockexport::chardev {

class DescriptorStream final : public net::Stream {
 public:
  // `input_is_pipe`: the input is a pipe, opened without blocking, which may have had no writer yet.
  DescriptorStream(aio::Reactor& reactor, int input, int output, bool input_is_pipe = false)
      : reactor_(&reactor), input_(input), output_(output), awaits_writer_(input_is_pipe) {}

  IoCount try_receive(std::span<std::byte> buffer) override;
  IoCount try_send(std::span<const iovec> vectors) override;
  aio::Task<IoResult> readable() override;
  aio::Task<IoResult> writable() override;
  // Waits until shut_down() or cancellation: terminals, pipes and files have no peer to watch.
  aio::Task<IoResult> hung_up() override;
  void shut_down() override;
  void detach() override { reactor_ = nullptr; }
  void attach(aio::Reactor& reactor) override { reactor_ = &reactor; }

 private:
  // Event of a waiting task, which shut_down() sets; null while no task waits.
  using Wake = aio::Event*;
  aio::Task<IoResult> wait_for(int fd, std::uint32_t events, Wake& wake);

  aio::Reactor* reactor_;
  int input_;
  int output_;
  bool awaits_writer_;
  bool shut_down_ = false;
  Wake reader_ = nullptr;
  Wake writer_ = nullptr;
  Wake watcher_ = nullptr;
};

}  // namespace blockexport::chardev
