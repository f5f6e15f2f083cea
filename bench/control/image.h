// Image: the file of a control, and the method by which it is served, which is the only difference between the
// controls.
//
// Thread: one owner, the control's only thread. Owns the descriptor and the buffer pool for read data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "control/extents.h"

namespace blockexport::bench {

enum class Source {
  kMemory,    // no file: reads come from one cached buffer, writes are discarded
  kPread,     // preadv2 into a pool, pwrite from the receive buffer
  kMapped,    // replies point into the mapped file
  kSendfile,  // sendfile from the page cache to the socket
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
