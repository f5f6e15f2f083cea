#include "aio/sim/simulated_backend.h"

#include <poll.h>

#include <algorithm>

namespace blockexport::aio {
namespace {

// Simulated duration of a turn, so that a task that reads the clock in a loop sees it advance.
constexpr std::uint64_t kTurnNs = 100;
// Values of Operation::backend_data.
constexpr std::uintptr_t kAlive = 0;
constexpr std::uintptr_t kPowerLost = 1;

}  // namespace

void SimulatedBackend::submit(Operation& operation) {
  operation.backend_data = kAlive;
  world_.begin(operation);
  if (operation.kind == OperationKind::kPoll) {
    polls_.push_back(operation);
  } else {
    schedule(operation);
  }
}

void SimulatedBackend::schedule(Operation& operation) {
  std::uint64_t latency_ns = world_.random.between(world_.options.latency_min_ns, world_.options.latency_max_ns);
  under_way_.emplace(std::pair(world_.clock.now_ns() + latency_ns, world_.random.next()), &operation);
}

void SimulatedBackend::cancel(Operation& operation) {
  if (operation.kind != OperationKind::kPoll && !operation.abandonable) return;
  operation.unlink();
  std::erase_if(under_way_, [&](const auto& entry) { return entry.second == &operation; });
  operation.result = -ECANCELED;
  cancelled_.push_back(operation);
}

void SimulatedBackend::notice_ready_polls() {
  OperationList still_waiting;
  while (!polls_.empty()) {
    Operation& poll = polls_.pop_front();
    std::uint32_t ready = world_.ready(poll.fd) & (poll.events | POLLERR | POLLHUP | POLLNVAL);
    if (ready == 0) {
      still_waiting.push_back(poll);
    } else {
      poll.result = ready == POLLNVAL ? -EBADF : std::int64_t{ready};
      schedule(poll);
    }
  }
  polls_.splice_back(still_waiting);
}

IoResult SimulatedBackend::watch_hang_up(int fd, HangUpWatch& watch) {
  if (world_.find(fd) == nullptr) return fail(EBADF);
  watches_[fd] = &watch;
  return {};
}

void SimulatedBackend::collect_hang_ups(std::vector<HangUpWatch*>& hung_up) {
  for (const auto& [fd, watch] : watches_) {
    if ((world_.ready(fd) & (POLLHUP | POLLERR)) != 0) hung_up.push_back(watch);
  }
}

bool SimulatedBackend::wait(std::uint64_t deadline_ns, OperationList& completed) {
  VirtualClock& clock = world_.clock;
  clock.advance_to(clock.now_ns() + kTurnNs);
  notice_ready_polls();
  bool woken = woken_.exchange(false);
  if (!woken && cancelled_.empty()) {
    std::uint64_t next_ns = under_way_.empty() ? UINT64_MAX : under_way_.begin()->first.first;
    std::uint64_t target_ns = std::min(next_ns, deadline_ns);
    if (target_ns == UINT64_MAX) {
      world_.idle = true;
      return world_.stop_when_idle;
    }
    clock.advance_to(std::max(clock.now_ns(), target_ns));
  }
  while (!under_way_.empty() && under_way_.begin()->first.first <= clock.now_ns()) {
    Operation& operation = *under_way_.begin()->second;
    under_way_.erase(under_way_.begin());
    if (operation.backend_data == kPowerLost) {
      operation.result = -EIO;
    } else if (operation.kind != OperationKind::kPoll) {
      operation.result = world_.perform(operation);
    }
    completed.push_back(operation);
  }
  completed.splice_back(cancelled_);
  return true;
}

void SimulatedBackend::lose_power() {
  for (auto& [when, operation] : under_way_) {
    if (operation->kind == OperationKind::kWrite) world_.leave_unfinished(*operation);
    bool on_file = operation->kind != OperationKind::kPoll && operation->kind != OperationKind::kCall &&
                   operation->kind != OperationKind::kClose;
    if (on_file) operation->backend_data = kPowerLost;
  }
}

}  // namespace blockexport::aio
