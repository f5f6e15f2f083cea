// RangeLock: keeps a read-modify-write of part of a block from running into another write of the same block.
//
// Plain writes hold their range together with others (kShared); who reads, changes and writes back holds it alone
// (kExclusive). Served in order of arrival: a waiter is not overtaken by a later conflicting one. One per Node whose
// driver needs alignment. Thread: tasks of any reactor; each is woken on its own. A wait cannot be cancelled: what it
// waits for is a request to a disk, which ends.
#pragma once

#include <mutex>

#include "aio/sync.h"
#include "aio/task.h"
#include "base/intrusive_list.h"
#include "block/range.h"

namespace blockexport::block {

class RangeLock {
 public:
  enum class Kind : bool { kShared, kExclusive };

  // A place in the queue, which lives in the frame of the task that holds it. acquire() once, then it releases when it
  // dies.
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
    bool granted_ = false;  // guarded by the lock's mutex
    aio::Event may_go_;
  };

  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

 private:
  // Whether nothing before `hold` in the queue conflicts with it. With the mutex held.
  bool is_free_for(Hold& hold);
  void enqueue(Hold& hold);
  void release(Hold& hold);

  std::mutex mutex_;
  IntrusiveList<Hold> queue_;  // holders and waiters, in order of arrival
};

}  // namespace blockexport::block
