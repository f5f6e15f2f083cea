// SeenWindows: cache of file ranges that were in the page cache a moment ago, so that a sequential reader costs one
// query of the page cache per few megabytes, and not several per request.
//
// The result is advisory: between query and use a page may be evicted, or a file truncated. Owned by a backend; thread:
// its reactor's. An entry for a descriptor that was closed and reused is wrong for at most kValidNs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace blockexport::aio::posix {

class SeenWindows {
 public:
  static constexpr std::uint64_t kValidNs = 5'000'000;

  bool holds(int file, std::uint64_t offset, std::uint64_t end, std::uint64_t now_ns) const {
    for (const Window& window : windows_) {
      if (window.file == file && window.offset <= offset && end <= window.end && now_ns - window.seen_ns < kValidNs) {
        return true;
      }
    }
    return false;
  }
  void add(int file, std::uint64_t offset, std::uint64_t end, std::uint64_t now_ns) {
    windows_[next_] = {.file = file, .offset = offset, .end = end, .seen_ns = now_ns};
    next_ = (next_ + 1) % windows_.size();
  }

 private:
  struct Window {
    int file = -1;
    std::uint64_t offset = 0;
    std::uint64_t end = 0;
    std::uint64_t seen_ns = 0;
  };
  // Enough for 16 concurrent sequential readers.
  std::array<Window, 16> windows_;
  std::size_t next_ = 0;
};

}  // namespace blockexport::aio::posix
