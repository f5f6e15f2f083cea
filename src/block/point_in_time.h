// PointInTime: an older state of a driver's bytes, which the driver keeps while its own readers see the newest.
//
// Owned by the driver that keeps it (Driver::point_in_time()); a parent of that driver's node shows it to its own
// users. Ranges are not empty and lie in the node; they need no alignment. Thread: any reactor, for a caller inside the
// gate of an edge above the node.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "aio/task/task.h"
#include "base/errno.h"
#include "block/io.h"

namespace blockexport::block {

class PointInTime {
 public:
  // Bytes that the node had then.
  virtual std::uint64_t size_bytes_then() const = 0;
  // Reads the older bytes. EACCES: some of them do not belong to the point in time, were dropped, or are lost because
  // the state could not be kept.
  virtual aio::Task<IoResult> read_then(Range range, IoBuffers buffers) = 0;
  // As the verb `extents`, of the older bytes. EACCES: the first of them cannot be read.
  virtual aio::Task<IoResult> extents_then(Range range, Extents& extents) = 0;
  // Nobody needs these older bytes any more: whole clusters inside the range cannot be read from now on, nor is
  // anything done to keep them, and the storage that they took is given back.
  virtual aio::Task<IoResult> drop_then(Range range) = 0;

  // The reason why the older state could not be kept, so that none of it can be read any more; nothing while it is
  // kept. It never becomes readable again.
  virtual std::optional<Errno> given_up_because() const = 0;

 protected:
  ~PointInTime() = default;
};

// PointInTimeObserver: learns at once that a node has given up its point in time. Outlives the drivers that call it.
// Thread: any.
class PointInTimeObserver {
 public:
  // Called once for each point in time, before the first change that it does not cover.
  virtual void point_in_time_given_up(std::string_view node_name, Errno cause) = 0;

 protected:
  ~PointInTimeObserver() = default;
};

}  // namespace blockexport::block
