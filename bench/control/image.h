// Image: the file that a control serves, and how: the one difference between the controls.
//
// Thread: one owner, the control's only thread. Owns the descriptor and the pool that read data passes through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "control/extents.h"

namespace blockexport::bench {

enum class Source {
  kMemory,    // no file: reads come from one hot buffer, writes go nowhere
  kPread,     // preadv2 into a pool, pwrite from where the payload arrived
  kMapped,    // replies point into the mapped file
  kSendfile,  // the file's pages go to the socket
};

struct Image {
  Source source = Source::kPread;
  int fd = -1;
  uint64_t size = 0;
  std::byte* mapping = nullptr;
  std::vector<std::byte> hot;
  std::vector<Extent> extents;
};

// Opens `path` for `source` ("memory", "pread", "mmap" or "sendfile"); `memory_size` is the size of a kMemory image.
Image open_image(const std::string& path, const std::string& source, uint64_t memory_size);

}  // namespace blockexport::bench
