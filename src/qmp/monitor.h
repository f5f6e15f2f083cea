// Monitor: QMP on a chardev. Serves one client after another for as long as the chardev brings any.
// Owned by the daemon; thread: the control reactor.
#pragma once

#include <string>

#include "aio/scope.h"
#include "chardev/chardev.h"
#include "qmp/session.h"

namespace blockexport::qmp {

class Monitor {
 public:
  // `chardev` outlives the monitor, and nothing else uses it.
  Monitor(SessionContext context, chardev::Chardev& chardev);
  ~Monitor();

  void start();
  // Ends the session and waits for its end; what was answered is sent first.
  aio::Task<void> stop();

 private:
  aio::Task<void> serve();

  SessionContext context_;
  chardev::Chardev& chardev_;
  aio::Scope scope_;
};

}  // namespace blockexport::qmp
