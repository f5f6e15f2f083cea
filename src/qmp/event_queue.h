// EventQueue: delivers QMP events, with a rate limit, to every session that has finished its negotiation, in the order
// of emission.
//
// Events of kinds that may come in floods are limited to one per second and subject; the last one of a second is
// delivered at its end. Owned by the daemon; thread: the control reactor's.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "base/intrusive_list.h"
#include "json/value.h"

namespace blockexport::qmp {

// Receiver of events. It leaves the queue before it is destroyed.
class EventListener : public ListLink<EventListener> {
 public:
  // `event` is the whole message, timestamp included.
  virtual void on_event(const json::Value& event) = 0;

 protected:
  ~EventListener() = default;
};

class EventQueue {
 public:
  explicit EventQueue(aio::Reactor& reactor) : reactor_(reactor), delayed_(reactor) {}

  void add(EventListener& listener) { listeners_.push_back(listener); }

  // Adds the timestamp and delivers the event. `event` is {"event": NAME} or {"event": NAME, "data": {...}}.
  void emit(json::Value event);

  // Delivers the events that are held back, and cancels the timers. Call it before the reactor stops.
  aio::Task<void> close();

 private:
  // State of one key within its second.
  struct Held {
    bool has_event = false;
    json::Object event;
  };

  void deliver(json::Object event);
  aio::Task<void> hold(std::string key);

  aio::Reactor& reactor_;
  IntrusiveList<EventListener> listeners_;
  std::map<std::string, Held> held_;
  aio::Scope delayed_;
};

}  // namespace blockexport::qmp
