// resident_bytes(): resident set size of this process. For tests that memory is returned to the system; any thread.
#pragma once

#include <malloc.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>

namespace blockexport::aio::testing {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool kAllocatorKeepsAll = true;
#else
inline constexpr bool kAllocatorKeepsAll = false;
#endif

inline std::size_t resident_bytes() {
  std::ifstream status("/proc/self/statm");
  std::size_t pages = 0;
  status >> pages >> pages;
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// As in the daemon: allocations of less than 2 MiB come from the heap.
inline void use_heap_up_to_2_mib() {
  mallopt(M_MMAP_THRESHOLD, 2 << 20);
}

}  // namespace blockexport::aio::testing
