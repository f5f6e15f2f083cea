// Monitor: QMP on a chardev. Serves one client after another for as long as the chardev brings any.
// Owned by the control layer; thread: the control reactor.
#pragma once

#include <functional>
#include <string>

#include "aio/scope.h"
#include "chardev/chardev.h"
#include "qmp/session.h"

namespace blockexport::qmp {

class Monitor {
 public:
  // `chardev` outlives the monitor, and nothing else uses it. `client_left` is called each time a session has ended,
  // from the monitor's task: it may have stop() called, but not await it.
  Monitor(SessionContext context, chardev::Chardev& chardev, std::move_only_function<void()> client_left);
  ~Monitor();

  void start();
  // Whether what is sent from now on is indented.
  void set_pretty(bool pretty);
  // Ends the session and waits for its end; what was answered is sent first.
  aio::Task<void> stop();

 private:
  aio::Task<void> serve();

  SessionContext context_;
  chardev::Chardev& chardev_;
  std::move_only_function<void()> client_left_;
  Session* session_ = nullptr;  // of the client that is there now
  aio::Scope scope_;
};

}  // namespace blockexport::qmp
