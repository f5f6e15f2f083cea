// RootLuksStorage: the LUKS header of a new image, through a root edge.
//
// A view of an edge, which outlives it. Thread: the reactor of the calling task.
#pragma once

#include "crypto/luks_volume.h"
#include "drivers/qcow2/create/root_requests.h"

namespace blockexport::drivers::qcow2 {

class RootLuksStorage final : public crypto::LuksStorage {
 public:
  RootLuksStorage(RootRequests requests, std::uint64_t offset) : requests_(requests), offset_(offset) {}

  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return requests_.read(offset_ + offset, bytes);
  }
  aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return requests_.write(offset_ + offset, bytes);
  }
  aio::Task<IoResult> flush() override { return requests_.flush(); }

 private:
  RootRequests requests_;
  std::uint64_t offset_;
};

}  // namespace blockexport::drivers::qcow2
