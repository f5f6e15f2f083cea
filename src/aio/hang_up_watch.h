// HangUpWatch: learns whether the peer of a connection has closed its end, whatever the connection's own tasks wait
// for.
//
// A reactor asks the kernel about all its watches with one call (Reactor::report_hang_ups()), so the answer does not
// depend on how far the loop has come with the events of those sockets. Owned by the code that serves the connection,
// which ends the watch before it closes the descriptor. Thread: the reactor's.
#pragma once

namespace blockexport::aio {

class HangUpWatch {
 public:
  // The peer has closed its end, or the connection is broken. What the peer sent before may still wait to be received.
  // It may be called more than once, and it never ends a watch.
  virtual void peer_hung_up() = 0;

 protected:
  ~HangUpWatch() = default;
};

}  // namespace blockexport::aio
