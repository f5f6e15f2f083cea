// OwnedCounter: a number that one thread changes, without read-modify-write instructions, and any thread loads.
//
// Part of a set of counters of one reactor, in a cache line that no other reactor writes to. Values that are loaded
// together need not be consistent.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace blockexport {

inline constexpr std::size_t kCacheLineBytes = 64;

class OwnedCounter {
 public:
  void add(std::uint64_t amount) { set(load() + amount); }
  void subtract(std::uint64_t amount) { set(load() - amount); }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t load() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

}  // namespace blockexport
