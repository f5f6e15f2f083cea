// SimulationOptions: the seed of a Simulation, and the bounds of its random choices. Plain values; any thread.
#pragma once

#include <cstdint>

#include "aio/sim/simulated_stream.h"

namespace blockexport::aio {

struct SimulationOptions {
  std::uint64_t seed = 1;
  // Bounds of the random duration of an operation.
  std::uint64_t latency_min_ns = 1'000;
  std::uint64_t latency_max_ns = 1'000'000;
  bool short_transfers = false;  // of files: one in four moves less than was asked for
  // Duration of an immediate write, and whether the caller waits in the kernel meanwhile (or has lost its processor).
  std::uint64_t write_hold_ns = 0;
  bool write_hold_waits = true;
  bool maps_last = true;  // most of them; false: no map does, as of files that are written to all the time
  StreamRules streams = {};
};

}  // namespace blockexport::aio
