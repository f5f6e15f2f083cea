// free_pages(): frees a large block of std::aligned_alloc(), and gives its pages to the system at once.
//
// The allocator keeps what is freed between blocks that are in use, for blocks of that size or smaller, and takes other
// memory for larger ones. So a process that had many blocks of each size, one size after the other, would hold all of
// them, which no budget counts. Any thread.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

namespace blockexport {

// What free_pages() takes is aligned to this.
inline constexpr std::size_t kFreedAlignmentBytes = 4096;

// `bytes`: no more than it was made for. Pages that it shares with others stay.
inline void free_pages(void* memory, std::size_t bytes) {
  (void)::madvise(memory, bytes / kFreedAlignmentBytes * kFreedAlignmentBytes, MADV_DONTNEED);
  std::free(memory);
}

}  // namespace blockexport
