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
  bool short_transfers = false;  // one in four transfers of files moves less than requested
  // Duration of an immediate write, and whether the thread waits in the kernel meanwhile (or is preempted).
  std::uint64_t write_hold_ns = 0;
  bool write_hold_waits = true;
  bool maps_last = true;  // whether most maps have FileMap::lasting; false: none has, as for files that are written all
                          // the time
  StreamRules streams = {};
};

}  // namespace blockexport::aio
