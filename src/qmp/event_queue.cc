#include "qmp/event_queue.h"

#include <array>

namespace blockexport::qmp {
namespace {

constexpr std::uint64_t kLimitNs = 1'000'000'000;

// Kinds of events that may come in floods, and the member of their data that names the subject ("" = none).
struct LimitedEvent {
  std::string_view name;
  std::string_view subject;
};
constexpr std::array<LimitedEvent, 6> kLimitedEvents{{{"BLOCK_IO_ERROR", "qom-path"},
                                                      {"EXPORT_CLIENT_CONNECTED", "export"},
                                                      {"EXPORT_CLIENT_LEFT", "export"},
                                                      {"QUORUM_FAILURE", ""},
                                                      {"QUORUM_REPORT_BAD", "node-name"},
                                                      {"VSERPORT_CHANGE", "id"}}};

const std::string* string_member(const json::Object& object, std::string_view name) {
  const json::Value* value = object.find(name);
  return value == nullptr ? nullptr : value->as_string();
}

// The key of an event's rate limit; empty for an event without one.
std::string limit_key(const json::Object& event) {
  const std::string* name = string_member(event, "event");
  if (name == nullptr) return {};
  for (const LimitedEvent& limited : kLimitedEvents) {
    if (limited.name != *name) continue;
    const json::Value* data = event.find("data");
    const json::Object* members = data == nullptr ? nullptr : data->as_object();
    // An I/O error that stops its device comes only once, and must not be delayed.
    const std::string* action = members == nullptr ? nullptr : string_member(*members, "action");
    if (*name == "BLOCK_IO_ERROR" && action != nullptr && *action == "stop") return {};
    const std::string* subject = members == nullptr ? nullptr : string_member(*members, limited.subject);
    return *name + '\n' + (subject == nullptr ? std::string() : *subject);
  }
  return {};
}

}  // namespace

void EventQueue::emit(json::Value message) {
  json::Object event = std::move(*message.as_object());
  std::int64_t wall_us = reactor_.clock().wall_us();
  event.set("timestamp", json::Object{{"seconds", wall_us / 1'000'000}, {"microseconds", wall_us % 1'000'000}});
  std::string key = limit_key(event);
  if (key.empty()) {
    deliver(std::move(event));
    return;
  }
  auto held = held_.find(key);
  if (held != held_.end()) {
    held->second = {.has_event = true, .event = std::move(event)};
    return;
  }
  deliver(std::move(event));
  held_.emplace(key, Held{});
  delayed_.spawn("qmp event limit", hold(std::move(key)));
}

void EventQueue::deliver(json::Object event) {
  json::Value message(std::move(event));
  // A listener may leave the list during on_event().
  for (auto next = listeners_.begin(); next != listeners_.end();) {
    EventListener& listener = *next;
    ++next;
    listener.on_event(message);
  }
}

// Delivers the last held event of the key once per second, as long as such events come.
aio::Task<void> EventQueue::hold(std::string key) {
  bool cancelled = false;
  while (!cancelled) {
    IoResult slept = co_await reactor_.sleep_until(reactor_.now_ns() + kLimitNs);
    cancelled = !slept;
    Held& held = held_[key];
    if (!held.has_event) break;
    held.has_event = false;
    deliver(std::move(held.event));
  }
  held_.erase(key);
}

aio::Task<void> EventQueue::close() {
  delayed_.cancel();
  co_await delayed_.join();
}

}  // namespace blockexport::qmp
