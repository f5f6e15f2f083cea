#include "drivers/qcow2/tables/cluster_pins.h"

#include <algorithm>

namespace blockexport::drivers::qcow2 {

ClusterPins::Pin ClusterPins::pin(const aio::Reactor& reactor) {
  const std::size_t shard = (reinterpret_cast<std::uintptr_t>(&reactor) >> 6) % kShards;
  auto& count = shards_[shard].counts[epoch_.load(std::memory_order_relaxed) & 1];
  count.fetch_add(1, std::memory_order_seq_cst);
  // Either advance() sees this pin, or the lookups that follow see the tables without the clusters freed before it. On
  // x86 the addition is a full fence by itself, so that the compiler alone needs one.
#if defined(__x86_64__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  return Pin(count);
}

void ClusterPins::advance() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // A new epoch takes over the counters of the one before the present, so its pins must have gone. A pin that was
  // counted late, for an earlier epoch than the present one, only delays this.
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t next = epoch() + 1;
    const auto is_idle = [next](const Shard& shard) {
      return shard.counts[next & 1].load(std::memory_order_acquire) == 0;
    };
    if (!std::ranges::all_of(shards_, is_idle)) return;
    epoch_.store(next, std::memory_order_relaxed);
  }
}

}  // namespace blockexport::drivers::qcow2
