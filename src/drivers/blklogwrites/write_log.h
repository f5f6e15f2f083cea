// WriteLog: appends entries to a log of writes, one after the other.
//
// Owned by a BlklogwritesDriver, and lives as long as the edge to the log's node. An entry that cannot be written
// leaves its place to the next one, so that the log can be read to its end. Thread: tasks of any reactor.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "block/edge.h"
#include "block/io.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "drivers/blklogwrites/log_format.h"

namespace blockexport::drivers {

class WriteLog {
 public:
  // The next entry is written at `end_offset`. After `super_interval` entries, at least one, the super block is
  // written.
  WriteLog(block::Edge& log, const LogSuper& super, std::uint64_t end_offset, std::uint64_t super_interval)
      : log_(log), super_(super), end_offset_(end_offset), super_interval_(super_interval) {}

  std::uint32_t sector_bytes() const { return super_.sector_bytes; }

  // A write of `range`, in whole sectors, with these bytes.
  aio::Task<IoResult> write(block::Range range, block::IoBuffers data);
  // A write of zeros, which may become a hole of the log.
  aio::Task<IoResult> write_zeroes(block::Range range);
  aio::Task<IoResult> discard(block::Range range);
  // All earlier entries are durable afterwards, and so is the super block that counts them.
  aio::Task<IoResult> flush();

 private:
  struct Addition {
    LogEntry entry;
    block::IoBuffers data = {};
    std::uint64_t zero_bytes = 0;  // after the entry
  };
  LogEntry entry_of(block::Range range, std::uint64_t flags) const;
  aio::Task<IoResult> append(Addition addition);
  aio::Task<IoResult> write_super();
  std::vector<std::byte> sector() const { return std::vector<std::byte>(super_.sector_bytes); }

  block::Edge& log_;
  block::RangeLock turns_;  // of one byte, which each entry holds alone; it guards the members below
  LogSuper super_;
  std::uint64_t end_offset_;
  const std::uint64_t super_interval_;
};

}  // namespace blockexport::drivers
