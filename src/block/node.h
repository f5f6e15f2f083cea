// Node: a named place of the block graph, and the only way to a driver.
//
// Its verbs check, limit, align, split and count, and then call the driver; a driver never sees a range that is out of
// bounds, too long or not aligned. Nodes are owned by the Graph, reached through an Edge, and live as long as an edge or
// the graph holds them (NodeRef). Thread: verbs on any reactor when the driver is stateless; all else on the control
// reactor. A node never knows who its parents are, beyond the edges they hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "aio/task.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/node_statistics.h"

namespace blockexport::block {

class Node {
 public:
  Node(std::string name, std::unique_ptr<Driver> driver);

  const std::string& name() const { return name_; }
  std::uint64_t size_bytes() const { return driver_->size_bytes(); }
  const Limits& limits() const { return limits_; }
  bool read_only() const { return read_only_; }

  // The seven verbs. EINVAL or ENOSPC past the end, EPERM when the node is read-only; else the driver's error.
  // Ranges need no alignment: what the driver cannot take as it is goes through a bounce buffer.
  aio::Task<IoResult> read(Range range, IoBuffers buffers);
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options);
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options);
  aio::Task<IoResult> discard(Range range);
  aio::Task<IoResult> flush();
  aio::Task<IoResult> extents(Range range, Extents& extents);
  aio::Task<IoResult> prefetch(Range range);

  // At once or EAGAIN: the page cache has it, or takes it. No task, no allocation, no waiting.
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers);
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers);

  NodeStatistics& statistics() { return statistics_; }

 private:
  std::string name_;
  std::unique_ptr<Driver> driver_;
  Limits limits_;
  bool read_only_ = false;
  NodeStatistics statistics_;
};

}  // namespace blockexport::block
