// Tally: counters of the results of all connections of a run.
//
// Thread: one owner. Plain counters; a run is valid only if every error counter is zero.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "common/histogram.h"

namespace blockexport::bench {

struct Tally {
  uint64_t operations = 0;
  uint64_t bytes = 0;
  // Replies that carried an NBD error.
  uint64_t refused = 0;
  // Replies whose data differs from the image.
  uint64_t wrong_data = 0;
  // The first protocol error, which ends the run; empty while there is none.
  std::string breach;
  Histogram latency;

  void set_breach(std::string what) {
    if (breach.empty()) {
      breach = std::move(what);
    }
  }
  bool clean() const { return refused == 0 && wrong_data == 0 && breach.empty(); }
};

}  // namespace blockexport::bench
