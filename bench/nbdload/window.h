// Window: a measured interval: resource usage of the server, of this program and of the machine between open() and
// close().
//
// Thread: one owner. open() and close() read /proc a few times; there are no reads in between.
#pragma once

#include <cstdint>

#include "common/json_line.h"
#include "common/process_meter.h"

namespace blockexport::bench {

class Window {
 public:
  Window(pid_t server, bool tree) : meter_(server, tree) {}

  void open();
  void close();

  uint64_t wall_ns() const { return end_.wall_ns - start_.wall_ns; }
  uint64_t server_ns() const { return end_.server.cpu_ns - start_.server.cpu_ns; }
  const ProcessMeter& meter() const { return meter_; }

  // Adds seconds, rate and costs, all per `units` of work (named `unit`, as in "op").
  void report(JsonLine& line, const char* unit, uint64_t units) const;

 private:
  struct Reading {
    uint64_t wall_ns = 0;
    uint64_t own_ns = 0;
    ProcessUse server;
    MachineUse machine;
  };

  ProcessMeter meter_;
  Reading start_;
  Reading end_;
};

}  // namespace blockexport::bench
