// ProcessMeter: resource usage of another process: CPU time in nanoseconds, context switches, memory.
//
// CPU time is that of the process's CPU clock (clock_getcpuclockid), which covers all its threads, io_uring workers
// included. With `tree` it includes children (of a server that forks per connection); ended children are counted from
// the parent's statistics, in clock ticks. Thread: one owner. Reads /proc, never attaches or signals.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace blockexport::bench {

struct ProcessUse {
  uint64_t cpu_ns = 0;
  uint64_t voluntary_switches = 0;
  uint64_t involuntary_switches = 0;
};

struct MemoryUse {
  uint64_t resident_bytes = 0;
  uint64_t proportional_bytes = 0;
};

// CPU time of the whole machine from /proc/stat, in nanoseconds with a resolution of 10 ms.
struct MachineUse {
  uint64_t busy_ns = 0;
  uint64_t steal_ns = 0;
};

class ProcessMeter {
 public:
  // `pid` 0: there is no server to measure, and every reading is zero.
  ProcessMeter(pid_t pid, bool tree) : pid_(pid), tree_(tree) {}

  ProcessUse use() const;
  MemoryUse memory() const;

 private:
  std::vector<pid_t> members() const;

  pid_t pid_;
  bool tree_;
};

MachineUse machine_use();

}  // namespace blockexport::bench
