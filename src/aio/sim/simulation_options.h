// SimulationOptions: what a Simulation draws from its seed, and within which bounds. Plain values; any thread.
#pragma once

#include <cstdint>

#include "aio/sim/simulated_stream.h"

namespace blockexport::aio {

struct SimulationOptions {
  std::uint64_t seed = 1;
  // How long an operation takes: at random between these.
  std::uint64_t latency_min_ns = 1'000;
  std::uint64_t latency_max_ns = 1'000'000;
  bool short_transfers = false;  // of files: one in four moves less than was asked for
  // How long an immediate write holds its caller up, and whether that is a wait in the kernel (or a lost processor).
  std::uint64_t write_hold_ns = 0;
  bool write_hold_waits = true;
  bool maps_last = true;  // most of them; false: no map does, as of files that are written to all the time
  StreamRules streams = {};
};

}  // namespace blockexport::aio
