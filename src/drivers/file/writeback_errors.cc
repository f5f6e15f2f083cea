#include "drivers/file/writeback_errors.h"

#include <utility>

#include "aio/sync/wake.h"

namespace blockexport::drivers {

aio::Task<IoResult> WritebackErrors::run(aio::Reactor& reactor, Promise promise, aio::Task<IoResult> calling,
                                         bool (*is_writeback_error)(Errno)) {
  Call call(reactor, promise);
  begin(call);
  IoResult result = co_await std::move(calling);
  end(reactor, call, result, !result && is_writeback_error(result.error()));
  (void)co_await call.settled.wait();
  co_return call.result;
}

IoResult WritebackErrors::first() {
  std::lock_guard guard(mutex_);
  return first_error_;
}

void WritebackErrors::begin(Call& call) {
  std::lock_guard guard(mutex_);
  call.number_ = begun_++;
  call.errors_before_ = error_count_;
  under_way_.push_back(call);
}

void WritebackErrors::end(aio::Reactor& reactor, Call& call, IoResult result, bool is_writeback_error) {
  Calls settled;
  {
    std::lock_guard guard(mutex_);
    call.unlink();
    call.result = result;
    call.wait_for_ = begun_;
    if (is_writeback_error) {
      ++error_count_;
      if (first_error_) first_error_ = result;
    }
    // A failed call fails whatever the other calls report, so it need not wait for them.
    if (result) {
      waiting_.push_back(call);
    } else {
      settled.push_back(call);
    }
    take_settled(settled);
  }
  while (!settled.empty()) aio::wake(reactor, settled.pop_front().settled);
}

void WritebackErrors::take_settled(Calls& settled) {
  while (!waiting_.empty()) {
    Call& first = waiting_.front();
    if (!under_way_.empty() && under_way_.front().number_ < first.wait_for_) return;
    first.unlink();
    judge(first);
    settled.push_back(first);
  }
}

// A write promises only its own data, so errors from before it began do not concern it. A sync promises all earlier
// writes, and the kernel has dropped the data of an error for ever.
void WritebackErrors::judge(Call& call) const {
  const bool may_be_lost = call.promise == Promise::kAllBefore ? !first_error_ : error_count_ != call.errors_before_;
  if (may_be_lost) call.result = first_error_;
}

}  // namespace blockexport::drivers
