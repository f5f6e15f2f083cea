#include "aio/sync/sync_group.h"

#include <utility>

#include "aio/sync/wake.h"

namespace blockexport::aio {

Task<IoResult> SyncGroup::share(Reactor& reactor, Task<IoResult> syncing) {
  Member member(reactor);
  if (!lead_or_join(member)) {
    (void)co_await member.woken.wait();
    if (!member.leads) co_return member.result;
  }
  IoResult result = co_await std::move(syncing);
  finish(reactor, result);
  co_return result;
}

bool SyncGroup::lead_or_join(Member& member) {
  std::lock_guard guard(mutex_);
  if (!running_) {
    running_ = true;
    return true;
  }
  next_.push_back(member);
  return false;
}

void SyncGroup::finish(Reactor& reactor, IoResult result) {
  Members done;
  Member* leader = nullptr;
  {
    std::lock_guard guard(mutex_);
    done.splice_back(sharing_);
    running_ = !next_.empty();
    if (running_) {
      leader = &next_.pop_front();
      leader->leads = true;
      sharing_.splice_back(next_);
    }
  }
  // Wakes the next leader first, so that its sync begins before the members of this one handle their results.
  if (leader != nullptr) wake(reactor, leader->woken);
  while (!done.empty()) {
    Member& member = done.pop_front();
    member.result = result;
    wake(reactor, member.woken);
  }
}

bool SyncGroup::is_running() {
  std::lock_guard guard(mutex_);
  return running_;
}

}  // namespace blockexport::aio
