// ClusterPins: tells when no request can still read or write a host cluster that was freed.
//
// A request pins the clusters of its image before it looks up where its bytes are, and until it has moved them. A pin
// names no cluster: it holds the present epoch open. A cluster that no table refers to any more may be used again once
// two epochs have passed since then: all requests that could have looked it up have ended.
//
// Owned by the image's driver. Thread: pin() and the end of a pin on any, without a lock; everything else under the
// lock of ImageTables.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace blockexport::aio {
class Reactor;
}

namespace blockexport::drivers::qcow2 {

class ClusterPins {
 public:
  class Pin {
   public:
    explicit Pin(std::atomic<std::uint32_t>& count) : count_(&count) {}
    Pin(Pin&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Pin& operator=(Pin&&) = delete;
    ~Pin() {
      if (count_ != nullptr) count_->fetch_sub(1, std::memory_order_release);
    }

   private:
    std::atomic<std::uint32_t>* count_;
  };

  ClusterPins() = default;
  ClusterPins(const ClusterPins&) = delete;
  ClusterPins& operator=(const ClusterPins&) = delete;

  // For a request on `reactor`. Look clusters up afterwards only.
  Pin pin(const aio::Reactor& reactor);

  // The epoch of a cluster that no table refers to from now on.
  std::uint64_t epoch() const { return epoch_.load(std::memory_order_relaxed); }
  // Begins as many epochs as pins allow; then has_passed() may have become true.
  void advance();
  // True if every request has ended that could use a cluster of that epoch.
  bool has_passed(std::uint64_t epoch) const { return this->epoch() >= epoch + 2; }

 private:
  static constexpr std::size_t kShards = 16;

  // Reactors count their pins apart from each other, so that they share no cache line as a rule.
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint32_t>, 2> counts{};  // of pins of even and odd epochs
  };

  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> epoch_ = 0;
};

}  // namespace blockexport::drivers::qcow2
