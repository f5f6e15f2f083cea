// Chardevs without a socket: StdioChardev, FileChardev and NullChardev. Each has only one stream. Thread: the control
// reactor's.
#pragma once

#include "base/owned_fd.h"
#include "chardev/chardev.h"

namespace blockexport::chardev {

// Standard input and output. After the end of input the frontend keeps waiting.
class StdioChardev final : public Chardev {
 public:
  StdioChardev(aio::Reactor& reactor, std::string label, StdioOptions options);
  ~StdioChardev() override;
  std::string_view kind() const override { return "stdio"; }
  std::string filename() const override { return "stdio"; }
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() override;

 private:
  aio::Reactor& reactor_;
  int input_flags_;
  int output_flags_;
  bool given_ = false;
};

class FileChardev final : public Chardev {
 public:
  // Opens the files. For an output pipe it waits until the pipe has a reader, at most FileOptions::pipe_wait_ns.
  static aio::Task<Result<std::unique_ptr<Chardev>>> open(aio::Reactor& reactor, std::string label,
                                                          FileOptions options);
  std::string_view kind() const override { return "file"; }
  std::string filename() const override { return "file"; }
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() override;

 private:
  FileChardev(aio::Reactor& reactor, std::string label) : Chardev(std::move(label)), reactor_(reactor) {}

  aio::Reactor& reactor_;
  OwnedFd output_;
  OwnedFd input_;
  bool input_is_pipe_ = false;
  bool given_ = false;
};

class NullChardev final : public Chardev {
 public:
  NullChardev(aio::Reactor& reactor, std::string label) : Chardev(std::move(label)), reactor_(reactor) {}
  std::string_view kind() const override { return "null"; }
  bool allows_out_of_band() const override { return false; }
  std::string filename() const override { return "null"; }
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() override;

 private:
  aio::Reactor& reactor_;
  bool given_ = false;
};

}  // namespace blockexport::chardev
