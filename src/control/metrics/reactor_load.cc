#include "control/metrics/reactor_load.h"

#include <algorithm>
#include <utility>

namespace blockexport::control {

std::vector<ReactorValues> ReactorLoads::take(const std::vector<ReactorReading>& reactors, std::uint64_t now_ns) {
  std::vector<ReactorValues> values;
  std::map<std::string, Known> known;
  for (const ReactorReading& reading : reactors) {
    const Point made{.time_ns = reading.made_ns, .busy_ns = 0};
    Known one{.made_ns = reading.made_ns, .before = made, .last = made};
    const auto found = known_.find(reading.name);
    if (found != known_.end() && found->second.made_ns == reading.made_ns) one = found->second;
    if (now_ns - one.last.time_ns >= kReactorLoadNs) {
      one.before = std::exchange(one.last, Point{.time_ns = now_ns, .busy_ns = reading.busy_ns});
    }
    const auto elapsed_ns = static_cast<double>(now_ns - one.before.time_ns);
    const auto busy_ns = static_cast<double>(reading.busy_ns - one.before.busy_ns);
    values.push_back({.name = reading.name, .busy_ratio = elapsed_ns > 0 ? std::min(busy_ns / elapsed_ns, 1.0) : 0});
    known.emplace(reading.name, one);
  }
  known_ = std::move(known);
  return values;
}

}  // namespace blockexport::control
