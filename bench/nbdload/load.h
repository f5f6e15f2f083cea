// The modes of nbdload. Each runs to its end, prints one JSON line and returns the exit status: 0 only if every reply
// was right.
//
// Thread: the main one.
#pragma once

#include "nbdload/options.h"

namespace blockexport::bench {

// Requests at a fixed depth on each connection: op/s, CPU per operation, latency.
int run_load(const Options& options);

// Block status over the whole export, pass after pass: CPU per extent, the first pass apart from the others.
int run_map(const Options& options);

// Connect, negotiate, one read, close, over and over: connections per second.
int run_rate(const Options& options);

// Many negotiated connections that then rest (kIdle), or connections that never say a word (kSilent): memory for each,
// and how long a further, well-behaved client waits for its first reply.
int run_crowd(const Options& options);

// Starts the server's command line over and over: time from fork to the first greeting, and memory at rest.
int run_start(const Options& options);

}  // namespace blockexport::bench
