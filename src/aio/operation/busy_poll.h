// BusyPoll: adaptive duration for which a reactor polls for new work before it sleeps. While work arrives often,
// polling saves the sender a wake-up and the reactor the latency of one; polling in vain wastes processor time. So the
// duration grows while longer polling would have found work, and shrinks when even the maximum would not.
//
// Part of a reactor, which reports each wait. Thread: the reactor's.
#pragma once

#include <algorithm>
#include <cstdint>

namespace blockexport::aio {

// Bounds of the duration: the properties poll-max-ns, poll-grow and poll-shrink of an iothread object.
struct BusyPollLimits {
  // Maximum duration in nanoseconds; 0: never poll, always sleep.
  std::uint64_t max_ns = 0;
  // Factor by which a duration that was too short grows; 0: kGrowDefault.
  std::uint64_t grow = 0;
  // Divisor of the duration after polling in vain; 0: the next wait does not poll.
  std::uint64_t shrink = 0;
};

class BusyPoll {
 public:
  static constexpr std::uint64_t kGrowDefault = 2;
  // The first duration after 0.
  static constexpr std::uint64_t kFirstNs = 4'000;

  void set_limits(BusyPollLimits limits) {
    limits_ = limits;
    if (limits_.grow == 0) limits_.grow = kGrowDefault;
    poll_ns_ = std::min(poll_ns_, limits_.max_ns);
  }

  // Duration of polling before the next sleep.
  std::uint64_t poll_ns() const { return poll_ns_; }

  // Reports the length of the last wait, polling and sleep together.
  void waited(std::uint64_t wait_ns) {
    if (wait_ns <= poll_ns_) return;
    if (wait_ns > limits_.max_ns) {
      poll_ns_ = limits_.shrink == 0 ? 0 : poll_ns_ / limits_.shrink;
    } else {
      poll_ns_ = std::min(limits_.max_ns, poll_ns_ > UINT64_MAX / limits_.grow ? UINT64_MAX : poll_ns_ * limits_.grow);
      poll_ns_ = std::max(poll_ns_, std::min(kFirstNs, limits_.max_ns));
    }
  }

 private:
  BusyPollLimits limits_;
  std::uint64_t poll_ns_ = 0;
};

}  // namespace blockexport::aio
