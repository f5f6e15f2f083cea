// QuorumEvents: emits QUORUM_REPORT_BAD and QUORUM_FAILURE for what quorum nodes report.
//
// Reports come from requests of clients, so there may be many: at most one of each node is on its way to the control
// reactor, the newest. The event queue limits their rate further. Owned by the daemon, which makes it before the
// drivers, and gives it the control plane's event queue afterwards. Thread: the reports on any; everything else on the
// control reactor.
#pragma once

#include <memory>

#include "aio/reactor/reactor.h"
#include "block/quorum_observer.h"
#include "qmp/event_queue.h"

namespace blockexport::control {

class QuorumEvents final : public block::QuorumObserver {
 public:
  QuorumEvents();
  ~QuorumEvents();

  // Events go to `events`, on `reactor`, until close(). Both outlive that call.
  void open(aio::Reactor& reactor, qmp::EventQueue& events);
  void close();

  void child_is_bad(block::QuorumBadChild report) override;
  void request_failed(block::QuorumFailure report) override;

 private:
  struct Reports;

  // Posted work has it too, and may run after close().
  std::shared_ptr<Reports> reports_;
};

}  // namespace blockexport::control
