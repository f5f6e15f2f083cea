#include "drivers/file/loss_report.h"

#include <utility>

#include "drivers/file/wake.h"

namespace blockexport::drivers {

aio::Task<IoResult> LossReport::run(aio::Reactor& reactor, Promise promise, aio::Task<IoResult> calling,
                                    bool (*is_loss)(Errno)) {
  Call call(reactor, promise);
  begin(call);
  IoResult result = co_await std::move(calling);
  end(reactor, call, result, !result && is_loss(result.error()));
  (void)co_await call.settled.wait();
  co_return call.result;
}

IoResult LossReport::known() {
  std::lock_guard guard(mutex_);
  return first_loss_;
}

void LossReport::begin(Call& call) {
  std::lock_guard guard(mutex_);
  call.number_ = begun_++;
  call.losses_before_ = losses_;
  under_way_.push_back(call);
}

void LossReport::end(aio::Reactor& reactor, Call& call, IoResult result, bool is_loss) {
  Calls settled;
  {
    std::lock_guard guard(mutex_);
    call.unlink();
    call.result = result;
    call.wait_for_ = begun_;
    if (is_loss) {
      ++losses_;
      if (first_loss_) first_loss_ = result;
    }
    // A failure is one whatever the others are told.
    if (result) {
      waiting_.push_back(call);
    } else {
      settled.push_back(call);
    }
    take_settled(settled);
  }
  while (!settled.empty()) wake(reactor, settled.pop_front().settled);
}

void LossReport::take_settled(Calls& settled) {
  while (!waiting_.empty()) {
    Call& first = waiting_.front();
    if (!under_way_.empty() && under_way_.front().number_ < first.wait_for_) return;
    first.unlink();
    judge(first);
    settled.push_back(first);
  }
}

// What was lost before a write began is not what it wrote; a sync promises that too.
void LossReport::judge(Call& call) const {
  const bool may_be_lost = call.promise == Promise::kAllBefore ? !first_loss_ : losses_ != call.losses_before_;
  if (may_be_lost) call.result = first_loss_;
}

}  // namespace blockexport::drivers
