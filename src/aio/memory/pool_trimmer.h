// PoolTrimmer: timer that returns a reactor's idle buffers to the system once none was taken or returned for kQuietNs.
//
// Part of a reactor, which asks it for its deadline and reports the end of each turn; it has no deadline when there is
// nothing to trim. Thread: the reactor's. It never trims while buffers are being taken and returned.
#pragma once

#include <cstdint>

#include "aio/memory/buffer_pool.h"

namespace blockexport::aio {

class PoolTrimmer {
 public:
  // Time without use after which idle buffers are freed.
  static constexpr std::uint64_t kQuietNs = 5'000'000'000;

  // Sets the pool, or null for none. `pool` outlives the trimmer, or is reset to null before.
  void watch(BufferPool* pool) { pool_ = pool; }

  // Time at which there may be buffers to trim, or UINT64_MAX.
  std::uint64_t deadline_ns() const {
    if (pool_ == nullptr || pool_->idle_bytes() == 0) return UINT64_MAX;
    return quiet_since_ns_ + kQuietNs;
  }

  // True when it has trimmed the pool.
  bool turn_ended(std::uint64_t now_ns) {
    if (pool_ == nullptr) return false;
    if (pool_->was_used()) {
      quiet_since_ns_ = now_ns;
    } else if (now_ns >= deadline_ns()) {
      pool_->trim();
      return true;
    }
    return false;
  }

 private:
  BufferPool* pool_ = nullptr;
  std::uint64_t quiet_since_ns_ = 0;
};

}  // namespace blockexport::aio
