// Monitor: QMP server on a chardev, which serves one client after another. Owned by the control layer; thread: the
// control reactor's.
#pragma once

#include <functional>
#include <string>

#include "aio/sync/scope.h"
#include "chardev/chardev.h"
#include "qmp/session.h"

namespace blockexport::qmp {

class Monitor {
 public:
  // `chardev` outlives the monitor, its only user. The monitor's task calls `client_left` after each session; that
  // function may cause a call of stop(), but not await it.
  Monitor(SessionContext context, chardev::Chardev& chardev, std::move_only_function<void()> client_left);
  ~Monitor();

  void start();
  // True if further messages are indented.
  void set_pretty(bool pretty);
  // Ends the session and waits for its end; finished replies are still sent.
  aio::Task<void> stop();

 private:
  aio::Task<void> serve();

  SessionContext context_;
  chardev::Chardev& chardev_;
  std::move_only_function<void()> client_left_;
  Session* session_ = nullptr;  // session of the current client
  aio::Scope scope_;
};

}  // namespace blockexport::qmp
