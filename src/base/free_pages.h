// free_pages(): frees a large block of std::aligned_alloc(), and returns its pages to the system at once.
//
// The allocator keeps a freed block that lies between used ones, reuses it only for blocks of that size or smaller, and
// takes new memory for larger ones. So a process that used many blocks of one size after another would keep the memory
// of all of them, and no budget would count it. Any thread.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

namespace blockexport {

// Alignment of the blocks that free_pages() frees.
inline constexpr std::size_t kFreedAlignmentBytes = 4096;

// `bytes`: at most the size of the allocation. A page that the block shares with another one stays.
inline void free_pages(void* memory, std::size_t bytes) {
  (void)::madvise(memory, bytes / kFreedAlignmentBytes * kFreedAlignmentBytes, MADV_DONTNEED);
  std::free(memory);
}

}  // namespace blockexport
