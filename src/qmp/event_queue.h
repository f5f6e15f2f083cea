// EventQueue: the one way by which events leave. Every session that has finished its negotiation hears every event, in
// the order in which they were emitted.
//
// Events of a kind that may come in floods are limited to one per second for each subject; the last one wins and is
// delivered when the second is over. Owned by the daemon; thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "aio/reactor.h"
#include "aio/scope.h"
#include "base/intrusive_list.h"
#include "json/value.h"

namespace blockexport::qmp {

// Who wants events. Leaves the queue before it dies.
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

  // Stamps the event with the wall clock and delivers it. `event` is {"event": NAME} or {"event": NAME, "data": {...}}.
  void emit(json::Value event);

  // Delivers what is held back, and forgets the timers. Call before the reactor stops.
  aio::Task<void> close();

 private:
  // A limited kind of event with one subject, within its second.
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
