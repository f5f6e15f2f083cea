// Random: pseudo-random numbers from a seed, the same on every machine (splitmix64). Thread: one at a time. Not for
// secrets.
#pragma once

#include <cstdint>

namespace blockexport::aio {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // From 0 to `limit` - 1; `limit` is at least 1.
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  // From `first` to `last`, both included.
  std::uint64_t between(std::uint64_t first, std::uint64_t last) { return first + below(last - first + 1); }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  std::uint64_t state_;
};

}  // namespace blockexport::aio
