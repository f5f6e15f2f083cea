// SyncGroup: who waits for a sync shares one. The first to come runs it; who comes while it runs cannot know whether it
// still covers what he wrote, and shares the next one with all others that do.
//
// Owned by a FileDriver. Any thread; each waits on its own reactor, and cannot be cancelled: what was written before is
// to be made durable even when nobody asks any more.
#pragma once

#include <mutex>

#include "aio/reactor.h"
#include "aio/sync.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::drivers {

class SyncGroup {
 public:
  // A sync that began after this: `syncing` when nobody's else will do, or else that of another, and `syncing` is
  // never begun. Its result.
  aio::Task<IoResult> share(aio::Reactor& reactor, aio::Task<IoResult> syncing);

  // Whether a sync is under way now; the answer may be old when it arrives.
  bool is_running();

 private:
  // One who wants a sync; lives until it has its result.
  struct Member : ListLink<Member> {
    explicit Member(aio::Reactor& on) : woken(on, aio::Event::Cancellation::kIgnored) {}
    aio::Event woken;
    bool leads = false;
    IoResult result;  // when it does not lead
  };
  using Members = IntrusiveList<Member>;

  // True: nothing is under way; run a sync and tell finish(). False: wait for `member.woken`, and then either
  // `member.leads`, which is the same, or `member.result` is the answer.
  bool lead_or_join(Member& member);
  // The leader's sync has ended so, as a task of `reactor`; all who shared it get the result, and the next ones their
  // leader.
  void finish(aio::Reactor& reactor, IoResult result);

  std::mutex mutex_;
  bool running_ = false;
  Members sharing_;  // the sync that runs, but for its leader
  Members next_;     // the one after it
};

}  // namespace blockexport::drivers
