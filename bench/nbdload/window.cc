#include "nbdload/window.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/time.h"

namespace blockexport::bench {

void Window::open() {
  start_.machine = machine_use();
  start_.server = meter_.use();
  start_.own_ns = own_cpu_ns();
  start_.wall_ns = bench::wall_ns();
}

void Window::close() {
  end_.wall_ns = bench::wall_ns();
  end_.own_ns = own_cpu_ns();
  end_.server = meter_.use();
  end_.machine = machine_use();
}

void Window::report(JsonLine& line, const char* unit, uint64_t units) const {
  auto seconds = static_cast<double>(wall_ns()) / static_cast<double>(kNanosecondsPerSecond);
  auto each = [units](uint64_t sum) {
    return static_cast<double>(sum) / static_cast<double>(std::max(units, uint64_t{1}));
  };
  line.add(fmt::format("{}s", unit), units);
  line.add("seconds", seconds);
  line.add(fmt::format("{}s_per_second", unit), static_cast<double>(units) / std::max(seconds, 1e-9));
  line.add(fmt::format("server_cpu_ns_per_{}", unit), each(server_ns()));
  line.add(fmt::format("client_cpu_ns_per_{}", unit), each(end_.own_ns - start_.own_ns));
  line.add(fmt::format("server_voluntary_switches_per_{}", unit),
           each(end_.server.voluntary_switches - start_.server.voluntary_switches));
  line.add("server_cpu_ns", server_ns());
  line.add("client_cpu_ns", end_.own_ns - start_.own_ns);
  line.add("machine_busy_ns", end_.machine.busy_ns - start_.machine.busy_ns);
  line.add("machine_steal_ns", end_.machine.steal_ns - start_.machine.steal_ns);
}

}  // namespace blockexport::bench
