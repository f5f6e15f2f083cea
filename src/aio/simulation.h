// The simulated backend's files, sockets and time, for tests and fuzz targets of every folder. The daemon itself has no
// use for it, and nothing else of aio/sim/ is anybody's business.
#pragma once

#include "aio/sim/simulation.h"  // IWYU pragma: export
