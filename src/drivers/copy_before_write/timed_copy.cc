// The copies of a FrozenState that its requests wait for only so long. A transfer cannot be cancelled, so a copy that
// takes too long goes on when its request has given up, as a task of its own on the same reactor.
#include <cassert>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "aio/sync/with_deadline.h"
#include "aio/task/current.h"
#include "drivers/copy_before_write/frozen_state.h"

namespace blockexport::drivers {

using block::Range;

// One copy with its task. Used on its reactor only; shared by the request and by the task, which may outlive it.
struct FrozenState::TimedCopy {
  explicit TimedCopy(aio::Reactor& on) : reactor(on), scope(on), ended(on) {}

  aio::Reactor& reactor;
  aio::Scope scope;
  aio::Event ended;
  IoResult result;
  bool is_late = false;
  std::shared_ptr<TimedCopy> task_share;  // until the turn after the task's end
};

aio::Task<IoResult> FrozenState::copy_in_time(Range range, std::uint64_t timeout_ns) {
  if (late_count_.load(std::memory_order_relaxed) >= kLateCopiesMax) co_return fail(ETIMEDOUT);
  aio::Reactor& reactor = co_await aio::current_reactor();
  const auto timed = std::make_shared<TimedCopy>(reactor);
  // Requests come only while the driver is not quiesced.
  [[maybe_unused]] const bool is_inside = late_copies_.try_enter();
  assert(is_inside);
  timed->task_share = timed;
  timed->scope.spawn("copy before write", run_timed(*timed, range));
  if (timed->ended.is_set()) co_return timed->result;
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, timeout_ns);
  IoResult waited = co_await aio::with_deadline("copy before write", deadline_ns, timed->ended);
  if (timed->ended.is_set()) co_return timed->result;
  timed->is_late = true;
  late_count_.fetch_add(1, std::memory_order_relaxed);
  co_return waited;
}

aio::Task<void> FrozenState::run_timed(TimedCopy& timed, Range range) {
  timed.result = co_await copy(range);
  timed.ended.set();
  if (timed.is_late) late_count_.fetch_sub(1, std::memory_order_relaxed);
  // The task ends in this turn, and the state that it belongs to not before this.
  timed.reactor.post([share = std::move(timed.task_share)] {});
  late_copies_.leave();
}

}  // namespace blockexport::drivers
