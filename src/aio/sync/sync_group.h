// SyncGroup: one sync for all tasks that wait for a sync. The first task runs it. A task that comes while a sync runs
// cannot know whether that sync covers its writes, so it shares the next one with all others that come meanwhile.
//
// Owned by a driver. Any thread; each task waits on its own reactor, and cannot be cancelled: earlier writes become
// durable even if the client has gone.
#pragma once

#include <mutex>

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::aio {

class SyncGroup {
 public:
  // The result of a sync that begins after this call: either `syncing`, or that of another task; in that case `syncing`
  // never runs.
  Task<IoResult> share(Reactor& reactor, Task<IoResult> syncing);

  // True if a sync is under way; the answer may be outdated at once.
  bool is_running();

 private:
  // A task that waits for a sync; lives until it has its result.
  struct Member : ListLink<Member> {
    explicit Member(Reactor& on) : woken(on, Event::Cancellation::kIgnored) {}
    Event woken;
    bool leads = false;
    IoResult result;  // set unless this member leads
  };
  using Members = IntrusiveList<Member>;

  // True: no sync is under way, and the caller runs one and then calls finish(). False: the caller waits for
  // `member.woken`; then either `member.leads` is set, which means the same as true, or `member.result` is final.
  bool lead_or_join(Member& member);
  // The leader's sync has ended with `result`; called on `reactor`, that of the leader. All members that shared the
  // sync get the result, and one of those that wait for the next sync becomes its leader.
  void finish(Reactor& reactor, IoResult result);

  std::mutex mutex_;
  bool running_ = false;
  Members sharing_;  // members of the running sync, except its leader
  Members next_;     // members of the next sync
};

}  // namespace blockexport::aio
