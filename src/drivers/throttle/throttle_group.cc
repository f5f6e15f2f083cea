#include "drivers/throttle/throttle_group.h"

#include <algorithm>
#include <cassert>

#include "aio/reactor/reactor.h"
#include "aio/sync/with_deadline.h"
#include "aio/task/current.h"

namespace blockexport::drivers {

namespace {
constexpr std::array kDirections = {ThrottleDirection::kRead, ThrottleDirection::kWrite};
}  // namespace

ThrottleGroup::ThrottleGroup(const ThrottleLimits& limits, std::uint64_t now_ns) {
  buckets_.set_limits(limits, now_ns);
  note_limits();
}

ThrottleGroup::~ThrottleGroup() {
  assert(members_.empty());
}

ThrottleLimits ThrottleGroup::limits() const {
  std::lock_guard guard(mutex_);
  return buckets_.limits();
}

void ThrottleGroup::set_limits(const ThrottleLimits& limits, std::uint64_t now_ns) {
  std::lock_guard guard(mutex_);
  buckets_.set_limits(limits, now_ns);
  note_limits();
  for (Direction direction : kDirections) serve(direction, now_ns, nullptr);
}

std::size_t ThrottleGroup::member_count() const {
  std::lock_guard guard(mutex_);
  return members_.size();
}

void ThrottleGroup::note_limits() {
  for (Direction direction : kDirections) {
    queue(direction).has_limit.store(buckets_.has_limit(direction), std::memory_order_release);
  }
}

void ThrottleGroup::add(ThrottleMember& member) {
  std::lock_guard guard(mutex_);
  members_.push_back(&member);
}

void ThrottleGroup::remove(ThrottleMember& member) {
  std::lock_guard guard(mutex_);
  assert(std::ranges::all_of(member.waiting_, [](auto& waiting) { return waiting.empty(); }));
  const auto place = std::ranges::find(members_, &member);
  const auto index = static_cast<std::size_t>(place - members_.begin());
  members_.erase(place);
  for (Queue& one : queues_) {
    if (one.turn >= index && one.turn > 0) --one.turn;
  }
}

void ThrottleGroup::release(ThrottleMember& member) {
  for (Direction direction : kDirections) {
    auto& waiting = member.waiting_[static_cast<std::size_t>(direction)];
    while (!waiting.empty()) let_go(waiting.front(), nullptr);
    Queue& its = queue(direction);
    if (its.next != nullptr) continue;
    // The next request looks at its own clock.
    if (Entry* next = pick(direction)) {
      next->due_ns = 0;
      aio::Wakeup::send(next->wakeup);
    }
  }
}

ThrottleGroup::Entry* ThrottleGroup::pick(Direction direction) {
  Queue& its = queue(direction);
  const std::size_t count = members_.size();
  for (std::size_t i = 1; its.next == nullptr && i <= count; ++i) {
    const std::size_t index = (its.turn + i) % count;
    auto& waiting = members_[index]->waiting_[static_cast<std::size_t>(direction)];
    if (waiting.empty()) continue;
    its.turn = index;
    its.next = &waiting.front();
  }
  return its.next;
}

void ThrottleGroup::let_go(Entry& entry, const Entry* self) {
  Queue& its = queue(entry.direction);
  if (its.next == &entry) its.next = nullptr;
  entry.unlink();
  entry.may_go = true;
  buckets_.fill(entry.direction, entry.bytes);
  if (&entry != self) aio::Wakeup::send(entry.wakeup);
}

void ThrottleGroup::serve(Direction direction, std::uint64_t now_ns, const Entry* self) {
  while (Entry* next = pick(direction)) {
    const std::uint64_t wait_ns = buckets_.wait_ns(direction, now_ns);
    if (wait_ns > 0) {
      next->due_ns = now_ns + wait_ns;
      if (next != self) aio::Wakeup::send(next->wakeup);
      return;
    }
    let_go(*next, self);
  }
}

void ThrottleGroup::withdraw(Entry& entry) {
  entry.unlink();
  Queue& its = queue(entry.direction);
  if (its.next != &entry) return;
  its.next = nullptr;
  if (Entry* next = pick(entry.direction)) {
    next->due_ns = 0;
    aio::Wakeup::send(next->wakeup);
  }
}

aio::Task<IoResult> ThrottleGroup::admit(ThrottleMember& member, Direction direction, std::uint64_t bytes) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  Entry entry(member, direction, bytes);
  {
    std::lock_guard guard(mutex_);
    const std::uint64_t now_ns = reactor.now_ns();
    const bool nobody_waits = queue(direction).next == nullptr;
    if (member.drains_ > 0 || (nobody_waits && buckets_.wait_ns(direction, now_ns) == 0)) {
      buckets_.fill(direction, bytes);
      co_return IoResult();
    }
    entry.wakeup = std::make_shared<aio::Wakeup>(reactor, aio::Event::Cancellation::kHonoured);
    member.waiting_[static_cast<std::size_t>(direction)].push_back(entry);
    if (nobody_waits) serve(direction, now_ns, &entry);
  }
  co_return co_await wait(reactor, entry);
}

aio::Task<IoResult> ThrottleGroup::wait(aio::Reactor& reactor, Entry& entry) {
  aio::Event& woken = entry.wakeup->event;
  while (true) {
    std::uint64_t due_ns;
    {
      std::lock_guard guard(mutex_);
      if (entry.may_go) co_return IoResult();
      due_ns = entry.due_ns;
    }
    IoResult waited;
    if (due_ns == UINT64_MAX) {
      waited = co_await woken.wait();
    } else {
      waited = co_await aio::with_deadline("throttled request", due_ns, woken);
    }
    woken.reset();
    std::lock_guard guard(mutex_);
    if (entry.may_go) co_return IoResult();
    if (!waited && waited.error() == Errno(ECANCELED)) {
      withdraw(entry);
      co_return waited;
    }
    if (queue(entry.direction).next == &entry) serve(entry.direction, reactor.now_ns(), &entry);
  }
}

ThrottleMember::ThrottleMember(std::shared_ptr<ThrottleGroup> group) : group_(std::move(group)) {
  group_->add(*this);
}

ThrottleMember::~ThrottleMember() {
  group_->remove(*this);
}

void ThrottleMember::begin_drain() {
  std::lock_guard guard(group_->mutex_);
  if (drains_++ == 0) group_->release(*this);
}

void ThrottleMember::end_drain() {
  std::lock_guard guard(group_->mutex_);
  assert(drains_ > 0);
  --drains_;
}

}  // namespace blockexport::drivers
