// HangUpWatch: callback for the hang-up of a connection's peer, independent of what the connection's tasks wait for.
//
// A reactor queries the kernel for all its watches with one call (Reactor::report_hang_ups()), so the answer does not
// depend on which events of those sockets the loop has processed. Owned by the code that serves the connection, which
// ends the watch before it closes the descriptor. Thread: the reactor's.
#pragma once

namespace blockexport::aio {

class HangUpWatch {
 public:
  // The peer has closed its end, or the connection is broken. Data that the peer sent before may still be unread. It
  // may be called more than once, and must not end a watch.
  virtual void peer_hung_up() = 0;

 protected:
  ~HangUpWatch() = default;
};

}  // namespace blockexport::aio
