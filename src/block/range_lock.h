// RangeLock: lock on ranges of bytes, which keeps a read-modify-write of a block from overlapping other writes of it.
//
// Plain writes share their range with each other (kShared); a read-modify-write holds it alone (kExclusive). Served in
// order of arrival: a later request never overtakes a waiter that it conflicts with. One per Node whose driver needs
// alignment. Thread: tasks of any reactor; each is woken on its own. A wait cannot be cancelled: it waits for a request
// to storage, which ends.
#pragma once

#include <mutex>

#include "aio/sync/sync.h"
#include "aio/task/task.h"
#include "base/intrusive_list.h"
#include "block/range.h"

namespace blockexport::block {

class RangeLock {
 public:
  enum class Kind : bool { kShared, kExclusive };

  // An entry of the queue, which lives in the frame of the task that holds the lock. Call acquire() once; the
  // destructor releases the lock.
  class Hold : public ListLink<Hold> {
   public:
    Hold(RangeLock& lock, aio::Reactor& reactor, Range range, Kind kind);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    aio::Task<void> acquire();

   private:
    friend class RangeLock;
    bool conflicts_with(const Hold& other) const;

    RangeLock& lock_;
    aio::Reactor& reactor_;
    Range range_;
    Kind kind_;
    bool granted_ = false;  // guarded by the mutex of the lock
    aio::Event may_go_;
  };

  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

 private:
  // True if no earlier entry of the queue conflicts with `hold`. Needs the mutex.
  bool is_free_for(Hold& hold);
  void enqueue(Hold& hold);
  void release(Hold& hold);

  std::mutex mutex_;
  IntrusiveList<Hold> queue_;  // holders and waiters, in order of arrival
};

}  // namespace blockexport::block
