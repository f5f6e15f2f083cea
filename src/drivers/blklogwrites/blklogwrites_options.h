// BlklogwritesOptions: how a log of writes is begun or continued. Plain values.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "drivers/blklogwrites/log_format.h"
#include "schema/block_core.h"

namespace blockexport::drivers {

struct BlklogwritesOptions {
  std::uint32_t sector_bytes = kLogSectorBytesDefault;  // of a log that is begun
  bool append = false;                                  // continue the log that is there
  std::uint64_t super_interval = 4096;                  // entries between two writes of the super block
};

// Does not check the values: they are checked when the log is read, in the order of the reference.
Result<BlklogwritesOptions> blklogwrites_options(const schema::BlockdevOptionsBlklogwrites& options);

}  // namespace blockexport::drivers
