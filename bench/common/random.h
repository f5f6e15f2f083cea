// Random: a small, fast, seeded generator (splitmix64), so that every server gets requests for the same offsets.
//
// Thread: one owner. Never used where unpredictability matters.
#pragma once

#include <cstdint>

namespace blockexport::bench {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // A number in [0, limit), limit > 0.
  uint64_t below(uint64_t limit) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((Wide{next()} * limit) >> 64);
  }

 private:
  uint64_t state_;
};

}  // namespace blockexport::bench
