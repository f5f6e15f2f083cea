// Options: parsed command line of nbdload.
//
// Thread: the main one fills it in; afterwards it is constant.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/channel.h"
#include "common/negotiate.h"

namespace blockexport::bench {

enum class Mode { kLoad, kMap, kRate, kIdle, kSilent, kStart };

enum class Shape { kRandomRead, kSequentialRead, kRandomWrite, kSequentialWrite, kMix, kFlushedWrite, kFlush };

struct Options {
  Mode mode = Mode::kLoad;
  Address address;
  NegotiationOptions negotiation;

  // The server to measure (0: none), with its children if it forks per connection.
  pid_t server_pid = 0;
  bool server_tree = false;

  Shape shape = Shape::kRandomRead;
  unsigned connections = 1;
  unsigned depth = 1;
  uint32_t block_bytes = 4096;
  uint64_t seed = 1;
  // Length of the part of the export that is used, from its start; 0: all.
  uint64_t span_bytes = 0;
  bool fua = false;

  // The measurement ends after this many operations, or if 0, after the time below.
  uint64_t operations = 0;
  uint64_t duration_ms = 1000;
  uint64_t warmup_ms = 0;
  // Lockstep: sends each batch, on all connections, only after the last reply of the previous one was received
  // completely, and waits for the server to close at the end; so counts are repeatable.
  bool lockstep = false;

  bool latency = false;
  // Every n-th read is compared completely, the others only at both ends; 0: only headers are checked.
  unsigned check_every = 64;
  uint64_t salt = 0;
  uint64_t vocabulary = 0;
  bool allow_zeroes = false;

  std::size_t receive_buffer_bytes = 0;
  // SO_SNDBUF of the client; 0 leaves the kernel's default.
  int send_buffer_bytes = 0;

  unsigned passes = 1;
  uint64_t expected_extents = 0;
  // Options of kStart: the server's command line, and the processor it is bound to (-1: any).
  int server_cpu = -1;
  std::vector<std::string> command;
};

// Parses argv; an error ends the program.
Options read_options(int count, char** values);

const char* name_of(Shape shape);

}  // namespace blockexport::bench
