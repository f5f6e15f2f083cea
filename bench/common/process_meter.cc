#include "common/process_meter.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "common/fatal.h"
#include "common/time.h"

namespace blockexport::bench {

namespace {

uint64_t tick_ns() {
  static const uint64_t kTick = kNanosecondsPerSecond / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return kTick;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  DIR* directory = opendir(fmt::format("/proc/{}/task", pid).c_str());
  if (directory == nullptr) {
    return threads;
  }
  while (const dirent* entry = readdir(directory)) {
    if (int id = std::atoi(entry->d_name); id > 0) {
      threads.push_back(id);
    }
  }
  closedir(directory);
  return threads;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t thread : threads_of(pid)) {
    std::ifstream list(fmt::format("/proc/{}/task/{}/children", pid, thread));
    for (pid_t child = 0; list >> child;) {
      children.push_back(child);
    }
  }
  return children;
}

// The value of `name:` in a /proc file of "name: number" lines; 0 if there is none.
uint64_t field_of(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) {
      return std::strtoull(line.c_str() + name.size(), nullptr, 10);
    }
  }
  return 0;
}

// CPU time of children that ended and were reaped: fields 16 and 17 of /proc/PID/stat.
uint64_t ended_children_ns(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  std::size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) {
    return 0;
  }
  std::istringstream fields(line.substr(after_name + 1));
  std::string skipped;
  constexpr int kFieldsBeforeChildTime = 13;
  for (int i = 0; i < kFieldsBeforeChildTime; ++i) {
    fields >> skipped;
  }
  uint64_t user = 0;
  uint64_t system = 0;
  fields >> user >> system;
  return (user + system) * tick_ns();
}

uint64_t cpu_of(pid_t pid) {
  clockid_t clock{};
  return clock_getcpuclockid(pid, &clock) == 0 ? read_clock_ns(clock) : 0;
}

}  // namespace

std::vector<pid_t> ProcessMeter::members() const {
  std::vector<pid_t> all;
  if (pid_ == 0) {
    return all;
  }
  all.push_back(pid_);
  for (std::size_t i = 0; tree_ && i < all.size(); ++i) {
    std::vector<pid_t> children = children_of(all[i]);
    all.insert(all.end(), children.begin(), children.end());
  }
  return all;
}

ProcessUse ProcessMeter::use() const {
  ProcessUse sum;
  if (pid_ != 0 && cpu_of(pid_) == 0) {
    fatal("server process {} can not be measured: {}", pid_, std::strerror(errno));
  }
  for (pid_t pid : members()) {
    sum.cpu_ns += cpu_of(pid) + (tree_ ? ended_children_ns(pid) : 0);
    for (pid_t thread : threads_of(pid)) {
      std::string status = fmt::format("/proc/{}/task/{}/status", pid, thread);
      sum.voluntary_switches += field_of(status, "voluntary_ctxt_switches:");
      sum.involuntary_switches += field_of(status, "nonvoluntary_ctxt_switches:");
    }
  }
  return sum;
}

MemoryUse ProcessMeter::memory() const {
  MemoryUse sum;
  for (pid_t pid : members()) {
    std::string rollup = fmt::format("/proc/{}/smaps_rollup", pid);
    sum.resident_bytes += field_of(rollup, "Rss:") << 10;
    sum.proportional_bytes += field_of(rollup, "Pss:") << 10;
  }
  return sum;
}

MachineUse machine_use() {
  std::ifstream file("/proc/stat");
  std::string name;
  // user nice system idle iowait irq softirq steal
  std::array<uint64_t, 8> ticks{};
  file >> name;
  for (uint64_t& tick : ticks) {
    file >> tick;
  }
  uint64_t busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  return {.busy_ns = busy * tick_ns(), .steal_ns = ticks[7] * tick_ns()};
}

}  // namespace blockexport::bench
