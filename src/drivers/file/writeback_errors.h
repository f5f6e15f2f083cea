// WritebackErrors: broadcasts a writeback error, which Linux reports to only one fsync per open file, to all concurrent
// syncs.
//
// The kernel reports a failed writeback to the first sync, or write that syncs itself, which checks for it. Other calls
// that end even a moment later succeed, although the lost data may be theirs. So a successful call counts only when
// every call that overlapped it has also ended and none of them returned a writeback error. A call without overlapping
// calls does not wait.
// Owned by a FileDriver. Any thread; each task waits on its own reactor and cannot be cancelled. Never allocates.
#pragma once

#include <cstdint>
#include <mutex>

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::drivers {

class WritebackErrors {
 public:
  enum class Promise : std::uint8_t {
    kOwnData,   // a write that syncs itself: its own data are durable
    kAllBefore  // a sync: all earlier writes are durable
  };

  // A call to the kernel that may return a writeback error, with the promise that its success makes. Lives until
  // `settled` is set.
  struct Call : ListLink<Call> {
    Call(aio::Reactor& on, Promise what) : promise(what), settled(on, aio::Event::Cancellation::kIgnored) {}
    const Promise promise;
    aio::Event settled;  // set after end(): `result` is final
    IoResult result;

   private:
    friend class WritebackErrors;
    std::uint64_t number_ = 0;    // order in which the calls began
    std::uint64_t wait_for_ = 0;  // all calls below this number must end first
    std::uint64_t errors_before_ = 0;
  };

  // Runs `calling`, which calls the kernel, and returns the final result. `is_writeback_error` says whether an error of
  // the kernel is, or may be, a writeback error.
  aio::Task<IoResult> run(aio::Reactor& reactor, Promise promise, aio::Task<IoResult> calling,
                          bool (*is_writeback_error)(Errno));

  // --- the parts of run(), public for tests ---

  // The first writeback error, or success. After an error no sync can promise the data that were in the page cache.
  IoResult first();

  // Registers a call before it calls the kernel.
  void begin(Call& call);
  // Reports the kernel's `result`, on `reactor`, that of the call. `is_writeback_error`: the result is, or may be, a
  // writeback error.
  void end(aio::Reactor& reactor, Call& call, IoResult result, bool is_writeback_error);

 private:
  using Calls = IntrusiveList<Call>;
  // These need the mutex.
  void judge(Call& call) const;
  void take_settled(Calls& settled);

  std::mutex mutex_;  // guards all members below
  Calls under_way_;   // in the order in which they began
  Calls waiting_;     // succeeded; in the order in which they ended, so the first waits for the smallest number
  std::uint64_t begun_ = 0;
  std::uint64_t error_count_ = 0;
  IoResult first_error_;
};

}  // namespace blockexport::drivers
