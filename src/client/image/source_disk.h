// SourceDisk: the disks of one or several nodes, one after another, as one disk to read.
//
// The nodes outlive it. Thread: the main thread, inside ImageGraph::run().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport::image {

// Sources of one conversion.
inline constexpr std::size_t kSourcesMax = 64;

// Reads bytes of a node. The error names the offset.
aio::Task<Result<>> read_node(block::Node& node, block::Range range, std::span<std::byte> bytes);

class SourceDisk {
 public:
  // At least one. Each but a single one is extended to a multiple of 512 bytes, with zeroes.
  explicit SourceDisk(std::vector<block::Node*> nodes);

  const std::vector<block::Node*>& nodes() const { return nodes_; }
  std::uint64_t size_bytes() const { return ends_.back(); }

  // The run of bytes of one kind at `offset`, which is in the disk; at most `length` bytes, which is not 0.
  aio::Task<Result<block::Extent>> extent_at(std::uint64_t offset, std::uint64_t length) const;
  aio::Task<Result<>> read(block::Range range, std::span<std::byte> bytes) const;

 private:
  // Number of the node with the byte at `offset`, and the offset of that node in the disk.
  std::size_t node_at(std::uint64_t offset) const;
  std::uint64_t begin_of(std::size_t number) const { return number == 0 ? 0 : ends_[number - 1]; }

  std::vector<block::Node*> nodes_;
  std::vector<std::uint64_t> ends_;  // of each node, in the disk
};

}  // namespace blockexport::image
