// Simulation for tests and fuzz targets of every folder: files, sockets and time of the simulated backend. The daemon
// itself does not use it; the headers of aio/sim/ are private to aio.
#pragma once

#include "aio/sim/simulation.h"  // IWYU pragma: export
