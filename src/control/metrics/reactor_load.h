// ReactorLoads: the share of the time for which each reactor was busy lately, from two readings of its counter.
//
// Owned by the MetricsService. Pure but for its memory of earlier readings; thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace blockexport::control {

// Shortest time over which a share is taken, except for a reactor that is younger: several readers of the metrics must
// not make it a share of very few turns.
inline constexpr std::uint64_t kReactorLoadNs = 1'000'000'000;

// A reading of one reactor. Reactors have different names; a later one with the name of an earlier one has another
// `made_ns`.
struct ReactorReading {
  std::string name;
  std::uint64_t made_ns = 0;
  std::uint64_t busy_ns = 0;  // since then
};

struct ReactorValues {
  std::string name;
  double busy_ratio = 0;  // from 0 to 1
};

class ReactorLoads {
 public:
  // The shares since the last reading that is at least kReactorLoadNs old, or else since the reactor was made.
  // `reactors`: all that there are now.
  std::vector<ReactorValues> take(const std::vector<ReactorReading>& reactors, std::uint64_t now_ns);

 private:
  struct Point {
    std::uint64_t time_ns;
    std::uint64_t busy_ns;
  };
  struct Known {
    std::uint64_t made_ns;
    Point before;
    Point last;
  };
  std::map<std::string, Known> known_;  // by name
};

}  // namespace blockexport::control
