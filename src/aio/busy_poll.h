// BusyPoll: how long a reactor looks for new work before it sleeps. Looking spares whoever brings the work the waking
// of a sleeper, and us the way back from sleep, for as long as work comes often; it costs the processor what it looks
// in vain. So the time grows while longer looking would have found something, and shrinks when even the longest would
// not.
//
// Part of a reactor, which tells it of each wait. Thread: the reactor's.
#pragma once

#include <algorithm>
#include <cstdint>

namespace blockexport::aio {

// What bounds it; the properties of an iothread object by the same names.
struct BusyPollLimits {
  // The longest look, in nanoseconds; 0: never look, always sleep.
  std::uint64_t max_ns = 0;
  // By how much a look that was too short grows; 0: kGrowDefault.
  std::uint64_t grow = 0;
  // What a look in vain is divided by; 0: the next wait does not look at all.
  std::uint64_t shrink = 0;
};

class BusyPoll {
 public:
  static constexpr std::uint64_t kGrowDefault = 2;
  // The first look after none.
  static constexpr std::uint64_t kFirstNs = 4'000;

  void set_limits(BusyPollLimits limits) {
    limits_ = limits;
    if (limits_.grow == 0) limits_.grow = kGrowDefault;
    look_ns_ = std::min(look_ns_, limits_.max_ns);
  }

  // How long to look before the next sleep.
  std::uint64_t look_ns() const { return look_ns_; }

  // The last wait, looking and sleeping together, took so long.
  void waited(std::uint64_t wait_ns) {
    if (wait_ns <= look_ns_) return;
    if (wait_ns > limits_.max_ns) {
      look_ns_ = limits_.shrink == 0 ? 0 : look_ns_ / limits_.shrink;
    } else {
      look_ns_ = std::min(limits_.max_ns, look_ns_ > UINT64_MAX / limits_.grow ? UINT64_MAX : look_ns_ * limits_.grow);
      look_ns_ = std::max(look_ns_, std::min(kFirstNs, limits_.max_ns));
    }
  }

 private:
  BusyPollLimits limits_;
  std::uint64_t look_ns_ = 0;
};

}  // namespace blockexport::aio
