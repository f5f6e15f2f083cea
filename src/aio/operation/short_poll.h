// ShortPoll: decides before a reactor sleeps whether it polls for a short time first, when a client is likely to go on.
//
// A client with one request at a time sends the next request soon after it got the reply. When the reactor sleeps
// meanwhile, most of that round trip is waking up: on a virtual machine about 20 us each for client and server, and
// about as much processor time as polling for the request would have taken. So the reactor polls while that has paid
// lately, and pauses when it did not or when somebody else wanted its processor. Pauses double, so that a wrong guess
// costs little: at most kVainPolls * kPollNs for each of them.
//
// Part of a reactor, which reports the waits in which it expected work (Reactor::expect_work()). Unlike BusyPoll it has
// no limits to set: an iothread object uses BusyPoll, all other reactors use this. Thread: the reactor's.
#pragma once

#include <cstdint>

namespace blockexport::aio {

class ShortPoll {
 public:
  // Duration of one poll. Longer polling would cost more processor time than sleeping and waking up.
  static constexpr std::uint64_t kPollNs = 40'000;
  // Longest wait, with the wake-ups of both sides, after which polling may have found the work in time.
  static constexpr std::uint64_t kPromisingWaitNs = 100'000;
  // Number of promising waits without an interruption after which polling begins.
  static constexpr std::uint32_t kLearnedWaits = 8;
  // Polling pauses after more vain polls than this among kCountedPolls.
  static constexpr std::uint32_t kVainPolls = 4;
  static constexpr std::uint32_t kCountedPolls = 16;
  // Number of polls after which it checks again whether others want the processor.
  static constexpr std::uint32_t kPollsPerCheck = 8;
  // Duration of the first pause and of the longest.
  static constexpr std::uint64_t kPauseMinNs = 1'000'000;
  static constexpr std::uint64_t kPauseMaxNs = 1'000'000'000;
  // The pause returns to kPauseMinNs when polling has paid for this many times the pause before it.
  static constexpr std::uint64_t kPayingPauses = 16;

  // Duration of the poll before the next sleep; 0: sleep at once.
  std::uint64_t poll_ns() const { return polls_ ? kPollNs : 0; }

  // Reports a wait in which work was expected. `wait_ns`: its length, polling and sleep together; `found`: polling
  // found the work. `preemptions()` returns the number of times that the thread lost its processor to another one; it
  // costs a system call and is called rarely.
  template <class Preemptions>
  void waited(std::uint64_t wait_ns, bool found, std::uint64_t now_ns, Preemptions preemptions) {
    if (polls_) {
      polled(found, now_ns, preemptions);
    } else if (now_ns >= paused_until_ns_) {
      learn(wait_ns, now_ns, preemptions);
    }
  }

 private:
  template <class Preemptions>
  void learn(std::uint64_t wait_ns, std::uint64_t now_ns, Preemptions preemptions) {
    if (wait_ns > kPromisingWaitNs) {
      count_ = 0;
      return;
    }
    if (count_ == 0) preemptions_before_ = preemptions();
    if (++count_ < kLearnedWaits) return;
    count_ = 0;
    // Others run on this processor, perhaps the client itself: polling would keep it from sending the request.
    if (preemptions() != preemptions_before_) return pause(now_ns);
    polls_ = true;
    vain_ = 0;
    began_ns_ = now_ns;
  }

  template <class Preemptions>
  void polled(bool found, std::uint64_t now_ns, Preemptions preemptions) {
    ++count_;
    vain_ += !found;
    const bool is_due = count_ % kPollsPerCheck == 0;
    if (vain_ > kVainPolls || (is_due && preemptions() != preemptions_before_)) {
      if (now_ns - began_ns_ >= kPayingPauses * pause_ns_) pause_ns_ = kPauseMinNs;
      return pause(now_ns);
    }
    if (count_ == kCountedPolls) count_ = vain_ = 0;
  }

  void pause(std::uint64_t now_ns) {
    polls_ = false;
    count_ = 0;
    paused_until_ns_ = now_ns + pause_ns_;
    pause_ns_ = pause_ns_ * 2 < kPauseMaxNs ? pause_ns_ * 2 : kPauseMaxNs;
  }

  bool polls_ = false;
  std::uint32_t count_ = 0;  // promising waits while it sleeps; counted polls while it polls
  std::uint32_t vain_ = 0;
  std::uint64_t preemptions_before_ = 0;
  std::uint64_t began_ns_ = 0;
  std::uint64_t paused_until_ns_ = 0;
  std::uint64_t pause_ns_ = kPauseMinNs;
};

}  // namespace blockexport::aio
