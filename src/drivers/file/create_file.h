// create_file(): creates a regular file of a given size, for blockdev-create.
//
// A file of that name loses its content, unless a process that honours the locks of images uses it: then the call fails
// before it changes the file. A file that could not be completed is left empty. Thread: the calling task's reactor,
// which never blocks: long work is done in pieces, and cancelled between them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/long_work.h"
#include "schema/block_create.h"

namespace blockexport::drivers {

struct FileCreation {
  std::string filename;
  std::uint64_t size_bytes;
  schema::PreallocMode preallocation = schema::PreallocMode::kOff;
  bool no_copy_on_write = false;  // the flag nocow of btrfs
  // Size of the pieces in which the file system is asked to allocate storage; 0: no such request.
  std::uint64_t extent_size_hint_bytes = 1u << 20;
};

// `work` learns of preallocated bytes, and outlives the call. ECANCELED becomes an error like any other.
aio::Task<Result<>> create_file(FileCreation creation, block::LongWork& work);

}  // namespace blockexport::drivers
