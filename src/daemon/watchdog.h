// Watchdog: tells the service manager that the daemon is alive, once each reactor has run its loop since the last time.
// A reactor that hangs, in a driver or in a kernel call, stops the kicks, and the manager restarts the daemon.
//
// Task of the control reactor, which lives as long as the Control.
#pragma once

#include <memory>
#include <vector>

#include "aio/threads/data_reactor.h"
#include "control/core/control.h"
#include "daemon/service_notifier.h"

namespace blockexport::daemon {

// Checks per time without a kick that the manager allows.
inline constexpr std::uint64_t kWatchdogChecksPerLimit = 4;

// One visit to each of some reactors.
class ReactorRound {
 public:
  // Nobody is visited: the round is complete.
  ReactorRound() = default;
  // Posts to each reactor, which may end any time later: then it counts as visited.
  explicit ReactorRound(const std::vector<aio::Reactor*>& reactors);
  // True if each reactor has run the work posted to it.
  bool is_complete() const { return left_.expired(); }

 private:
  std::weak_ptr<int> left_;  // owned by the posted work
};

// The control reactor, the reactors of the pool, and those of iothread objects.
std::vector<aio::Reactor*> all_reactors(control::Control& control);

// Kicks the watchdog of `notifier` from the moment that clients are served until it is cancelled. Both outlive the
// task.
aio::Task<void> run_watchdog(control::Control& control, const ServiceNotifier& notifier);

}  // namespace blockexport::daemon
