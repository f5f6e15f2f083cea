// ThrottleGroup: limits that several nodes share, and the requests of these nodes that wait because of them.
//
// Requests of one direction go in the order of their arrival at a node, and the nodes take turns. The request whose
// turn it is sleeps on its own reactor until the buckets let it go; the others wait for their turn. Waiting requests
// stand in the frames of their tasks, so the group's own memory does not grow. Shared by the object of that id and by
// the nodes. Thread: members and limits on the control reactor; requests on any reactor.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "aio/sync/shared_event.h"
#include "aio/task/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"
#include "drivers/throttle/throttle_buckets.h"

namespace blockexport::drivers {

class ThrottleMember;

class ThrottleGroup {
 public:
  // `limits` were checked. `now_ns` is of the reactors' clock.
  ThrottleGroup(const ThrottleLimits& limits, std::uint64_t now_ns);
  ~ThrottleGroup();
  ThrottleGroup(const ThrottleGroup&) = delete;
  ThrottleGroup& operator=(const ThrottleGroup&) = delete;

  ThrottleLimits limits() const;
  // The requests that wait get their times anew.
  void set_limits(const ThrottleLimits& limits, std::uint64_t now_ns);
  // Number of nodes in the group.
  std::size_t member_count() const;

 private:
  friend class ThrottleMember;
  using Direction = ThrottleDirection;

  // A request that waits; in the frame of its task.
  struct Entry : ListLink<Entry> {
    Entry(ThrottleMember& of, Direction in, std::uint64_t size_bytes) : member(of), direction(in), bytes(size_bytes) {}

    ThrottleMember& member;
    Direction direction;
    std::uint64_t bytes;
    std::shared_ptr<aio::Wakeup> wakeup;
    // Guarded by the mutex.
    std::uint64_t due_ns = UINT64_MAX;  // when to ask again; UINT64_MAX: when it is woken
    bool may_go = false;
  };
  struct Queue {
    Entry* next = nullptr;  // the request whose turn it is; null: none waits
    std::size_t turn = 0;   // the member that had the last turn
    std::atomic<bool> has_limit = false;
  };

  Queue& queue(Direction direction) { return queues_[static_cast<std::size_t>(direction)]; }
  bool has_limit(Direction direction) const {
    return queues_[static_cast<std::size_t>(direction)].has_limit.load(std::memory_order_acquire);
  }

  aio::Task<IoResult> admit(ThrottleMember& member, Direction direction, std::uint64_t bytes);
  // The waiting part of admit(), for a request that stands in its queue.
  aio::Task<IoResult> wait(aio::Reactor& reactor, Entry& entry);

  void add(ThrottleMember& member);
  void remove(ThrottleMember& member);
  void release(ThrottleMember& member);

  // --- with the mutex ---
  void note_limits();
  // Picks the request whose turn it is, if none is picked.
  Entry* pick(Direction direction);
  // Lets requests go as long as the buckets allow it. `self`: the caller's own request, which needs no wake-up.
  void serve(Direction direction, std::uint64_t now_ns, const Entry* self);
  void let_go(Entry& entry, const Entry* self);
  // Takes a request that gives up out of the queue.
  void withdraw(Entry& entry);

  mutable std::mutex mutex_;  // guards all that follows
  ThrottleBuckets buckets_;
  std::array<Queue, kThrottleDirections> queues_;
  std::vector<ThrottleMember*> members_;
};

// A node in a group. Owned by the driver of the node; destroyed while no request is under way.
class ThrottleMember {
 public:
  explicit ThrottleMember(std::shared_ptr<ThrottleGroup> group);
  ~ThrottleMember();
  ThrottleMember(const ThrottleMember&) = delete;
  ThrottleMember& operator=(const ThrottleMember&) = delete;

  // Returns true if a request of the direction has to call admit(). Any reactor.
  bool must_ask(ThrottleDirection direction) const { return group_->has_limit(direction); }
  // Returns when the request may go. ECANCELED when its task was cancelled; then it counts as none. Any reactor.
  aio::Task<IoResult> admit(ThrottleDirection direction, std::uint64_t bytes) {
    return group_->admit(*this, direction, bytes);
  }

  // Lets all requests that wait go, and those that come until end_drain(), which the buckets count. In pairs.
  void begin_drain();
  void end_drain();

 private:
  friend class ThrottleGroup;

  std::shared_ptr<ThrottleGroup> group_;
  // Guarded by the mutex of the group.
  std::array<IntrusiveList<ThrottleGroup::Entry>, kThrottleDirections> waiting_;
  std::uint32_t drains_ = 0;
};

// Finds a group by the id of its object. Implemented by the control plane; thread: the control reactor.
class ThrottleDirectory {
 public:
  // Null when there is none.
  virtual std::shared_ptr<ThrottleGroup> find_throttle_group(std::string_view id) = 0;

 protected:
  ~ThrottleDirectory() = default;
};

}  // namespace blockexport::drivers
