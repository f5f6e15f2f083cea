// Options: what nbdload was asked to do, read once from the command line.
//
// Thread: the main one fills it in; everyone else only reads it.
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
  Wishes wishes;

  // The server to measure (0: none), with its children if it forks per connection.
  pid_t server_pid = 0;
  bool server_tree = false;

  Shape shape = Shape::kRandomRead;
  unsigned connections = 1;
  unsigned depth = 1;
  uint32_t block_bytes = 4096;
  uint64_t seed = 1;
  // The part of the export that is touched, from its start; 0 is all of it.
  uint64_t span_bytes = 0;
  bool fua = false;

  // The measured part ends after this many operations, or when 0, after this time.
  uint64_t operations = 0;
  uint64_t duration_ms = 1000;
  uint64_t warmup_ms = 0;
  // Send a whole batch, on all connections, only when the last one is answered to the last byte, and see the server
  // close at the end: makes counts repeatable.
  bool lockstep = false;

  bool latency = false;
  // Every n-th read is compared in full, the others at both ends; 0 checks nothing but the headers.
  unsigned check_every = 64;
  uint64_t salt = 0;
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

// Reads argv; ends the program on anything it does not understand.
Options read_options(int count, char** values);

const char* name_of(Shape shape);

}  // namespace blockexport::bench
