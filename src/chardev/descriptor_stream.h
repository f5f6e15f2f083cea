// DescriptorStream: a pair of descriptors that are no socket (a terminal, a pipe, a file) as a Stream.
//
// The descriptors are borrowed and are non-blocking where they can be. A descriptor of -1 never has input, or swallows
// all output. Output that cannot be written, to a pipe that nobody reads any longer or a disk that is full, is dropped:
// who reads it may come back, and input goes on. Thread: the control reactor; a regular file may make a call wait for
// the disk.
#pragma once

#include "aio/reactor.h"
#include "aio/sync.h"
#include "net/stream.h"

namespace blockexport::chardev {

class DescriptorStream final : public net::Stream {
 public:
  // `input_is_pipe`: one opened without waiting, which may have had no writer yet.
  DescriptorStream(aio::Reactor& reactor, int input, int output, bool input_is_pipe = false)
      : reactor_(&reactor), input_(input), output_(output), awaits_writer_(input_is_pipe) {}

  IoCount try_receive(std::span<std::byte> buffer) override;
  IoCount try_send(std::span<const iovec> vectors) override;
  aio::Task<IoResult> readable() override;
  aio::Task<IoResult> writable() override;
  // Terminals, pipes and files have no peer that could be watched for: only the end of the task or stream ends it.
  aio::Task<IoResult> hung_up() override;
  void shut_down() override;
  void detach() override { reactor_ = nullptr; }
  void attach(aio::Reactor& reactor) override { reactor_ = &reactor; }

 private:
  // Set by shut_down() while somebody waits.
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
