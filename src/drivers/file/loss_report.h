// LossReport: what the kernel tells one call, that it could not write something back, is known to all it concerns.
//
// Linux tells of a failed write-back once for each open file: to the first sync, or write that syncs itself, that looks
// afterwards. Those that end later, even a moment, are told of success, though what they wrote may be what was lost. So
// a call that ended well is believed only when every call that was under way beside it has ended too, and none of them
// was told of a loss. Who ends while nobody else is under way waits for nothing.
// Owned by a FileDriver. Any thread; each waits on its own reactor and cannot be cancelled. Never allocates.
#pragma once

#include <cstdint>
#include <mutex>

#include "aio/reactor.h"
#include "aio/sync.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::drivers {

class LossReport {
 public:
  enum class Promise : std::uint8_t {
    kOwnData,   // a write that syncs itself: what it wrote is on the disk
    kAllBefore  // a sync: all that was written before is
  };

  // A call to the kernel that may be told, and what its success promises. Lives until it is settled.
  struct Call : ListLink<Call> {
    Call(aio::Reactor& on, Promise what) : promise(what), settled(on, aio::Event::Cancellation::kIgnored) {}
    const Promise promise;
    aio::Event settled;  // after end(): `result` is the answer
    IoResult result;

   private:
    friend class LossReport;
    std::uint64_t number_ = 0;    // of the calls that began
    std::uint64_t wait_for_ = 0;  // calls below this number are to end first
    std::uint64_t losses_before_ = 0;
  };

  // Runs `calling`, which calls the kernel once it is known who does so besides; the answer that may be believed.
  // `is_loss` says whether an error of the kernel is a report of a loss, or may be one.
  aio::Task<IoResult> run(aio::Reactor& reactor, Promise promise, aio::Task<IoResult> calling, bool (*is_loss)(Errno));

  // --- what that is made of ---

  // The first loss of all; what was in the page cache then may be gone, and no sync can promise it any more.
  IoResult known();

  // Before the kernel is called.
  void begin(Call& call);
  // The kernel has answered so, as a task of `reactor`, that of the call. `is_loss`: that is a report, or may be one.
  void end(aio::Reactor& reactor, Call& call, IoResult result, bool is_loss);

 private:
  using Calls = IntrusiveList<Call>;
  // Under the mutex.
  void judge(Call& call) const;
  void take_settled(Calls& settled);

  std::mutex mutex_;  // guards all below
  Calls under_way_;   // in the order they began
  Calls waiting_;     // ended well; in the order they ended, which is that of whom they wait for
  std::uint64_t begun_ = 0;
  std::uint64_t losses_ = 0;
  IoResult first_loss_;
};

}  // namespace blockexport::drivers
