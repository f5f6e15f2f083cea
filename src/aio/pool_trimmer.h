// PoolTrimmer: when the buffers that a reactor's pool keeps for reuse go back to the system: once none was taken or
// given back for a while.
//
// Part of a reactor, which asks it how long to wait and tells it of the end of each turn; with nothing to trim it asks
// for no turn. Thread: the reactor's. It never trims while buffers come and go.
#pragma once

#include <cstdint>

#include "aio/buffer_pool.h"

namespace blockexport::aio {

class PoolTrimmer {
 public:
  // How long a pool rests before what it keeps is given back.
  static constexpr std::uint64_t kQuietNs = 5'000'000'000;

  // `pool` outlives this, or is taken off with null. One at a time.
  void watch(BufferPool* pool) { pool_ = pool; }

  // When there may be something to trim, or UINT64_MAX.
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
