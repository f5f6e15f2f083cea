// DescriptorStream: a pair of descriptors that are no socket (a terminal, a pipe, a file) as a Stream.
//
// The descriptors are borrowed and are non-blocking where they can be. A descriptor of -1 never has input, or swallows
// all output. Thread: the control reactor; a regular file may make a call wait for the disk.
#pragma once

#include "aio/reactor.h"
#include "net/stream.h"

namespace blockexport::chardev {

class DescriptorStream final : public net::Stream {
 public:
  DescriptorStream(aio::Reactor& reactor, int input, int output) : reactor_(&reactor), input_(input), output_(output) {}

  IoCount try_receive(std::span<std::byte> buffer) override;
  IoCount try_send(std::span<const iovec> vectors) override;
  aio::Task<IoResult> readable() override;
  aio::Task<IoResult> writable() override;
  // Terminals, pipes and files have no peer that could be watched for: only the task's end ends it.
  aio::Task<IoResult> hung_up() override;
  void shut_down() override { shut_down_ = true; }
  void detach() override { reactor_ = nullptr; }
  void attach(aio::Reactor& reactor) override { reactor_ = &reactor; }

 private:
  aio::Reactor* reactor_;
  int input_;
  int output_;
  bool shut_down_ = false;
};

}  // namespace blockexport::chardev
