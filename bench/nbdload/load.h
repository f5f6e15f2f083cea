// Modes of nbdload. Each runs to its end, prints one JSON line and returns the exit status: 0 only if every reply was
// correct.
//
// Thread: the main one.
#pragma once

#include "nbdload/options.h"

namespace blockexport::bench {

// Requests at a fixed depth on each connection: op/s, CPU per operation, latency.
int run_load(const Options& options);

// Repeated block status over the whole export: CPU per extent, separately for the first pass.
int run_map(const Options& options);

// Repeats connect, negotiate, one read, close: connections per second.
int run_rate(const Options& options);

// Many negotiated connections that are then idle (kIdle), or connections that never send a byte (kSilent): memory per
// connection, and the time until one more, normal client gets its first reply.
int run_crowd(const Options& options);

// Repeatedly starts the server's command line: time from fork to the first greeting, and memory when idle.
int run_start(const Options& options);

}  // namespace blockexport::bench
