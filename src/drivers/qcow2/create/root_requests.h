// RootRequests: requests through a root edge, each inside its gate, so that the graph may change between two of them.
//
// A view of an edge, which outlives it. Ranges past the end make the node larger. Thread: any reactor; the caller's
// task runs the request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "aio/task/task.h"
#include "block/edge.h"
#include "block/io.h"

namespace blockexport::drivers::qcow2 {

class RootRequests {
 public:
  explicit RootRequests(block::Edge& edge) : edge_(edge) {}

  aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes);
  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes);
  // Zeros with storage, or without storage if `may_unmap` and the node below can do that.
  aio::Task<IoResult> write_zeroes(block::Range range, bool may_unmap);
  // Makes the node at least that large.
  aio::Task<IoResult> grow(std::uint64_t size_bytes);
  aio::Task<IoResult> flush();

  std::uint64_t size_bytes() const;

 private:
  block::Edge& edge_;
};

}  // namespace blockexport::drivers::qcow2
