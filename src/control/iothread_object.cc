#include "control/iothread_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/control.h"

namespace blockexport::control {
namespace {

// Worker threads of one iothread, whatever its thread-pool-max.
constexpr std::int64_t kIothreadWorkersMax = 64;

constexpr std::array<PropertyDescription, 6> kProperties{{{"thread-pool-min", "int"},
                                                          {"aio-max-batch", "int"},
                                                          {"thread-pool-max", "int"},
                                                          {"poll-max-ns", "int"},
                                                          {"poll-grow", "int"},
                                                          {"poll-shrink", "int"}}};

}  // namespace

std::span<const PropertyDescription> IothreadObject::property_list() {
  return kProperties;
}

Result<std::unique_ptr<UserObject>> IothreadObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kIothread>();
  std::unique_ptr<IothreadObject> object(new IothreadObject(control, options.id));
  // The maximum first: a minimum above the default maximum is fine when both are given.
  const std::pair<std::string_view, std::optional<std::int64_t>> given[] = {
      {"poll-max-ns", properties.poll_max_ns},         {"poll-grow", properties.poll_grow},
      {"poll-shrink", properties.poll_shrink},         {"aio-max-batch", properties.aio_max_batch},
      {"thread-pool-max", properties.thread_pool_max}, {"thread-pool-min", properties.thread_pool_min}};
  for (const auto& [name, value] : given) {
    if (value) TRY(object->set_integer(name, *value));
  }
  return object;
}

aio::Task<Result<>> IothreadObject::complete() {
  aio::ReactorOptions options = control_.reactor_options();
  options.worker_threads_max =
      static_cast<std::uint32_t>(std::min<std::int64_t>(thread_pool_max_, kIothreadWorkersMax));
  options.busy_poll = busy_poll();
  CO_TRY_ASSIGN(thread_, aio::ReactorThread::start(id(), options, control_.log()));
  co_return Result<>();
}

std::int64_t& IothreadObject::member(std::string_view name) {
  if (name == "thread-pool-min") return thread_pool_min_;
  if (name == "thread-pool-max") return thread_pool_max_;
  if (name == "aio-max-batch") return aio_max_batch_;
  if (name == "poll-max-ns") return poll_max_ns_;
  if (name == "poll-grow") return poll_grow_;
  return poll_shrink_;
}

json::Value IothreadObject::get(std::string_view name) const {
  return const_cast<IothreadObject*>(this)->member(name);
}

Result<> IothreadObject::set(std::string_view name, const json::Value& value) {
  const std::int64_t* integer = value.as_integer();
  if (integer == nullptr) return fail(fmt::format("Invalid parameter type for '{}', expected: integer", name));
  return set_integer(name, *integer);
}

Result<> IothreadObject::set_integer(std::string_view name, std::int64_t value) {
  bool is_pool_size = name.starts_with("thread-pool-");
  if (value < 0) {
    return fail(fmt::format("{} value must be in range [0, {}]", name, is_pool_size ? INT32_MAX : INT64_MAX));
  }
  if (is_pool_size) {
    std::int64_t minimum = name == "thread-pool-min" ? value : thread_pool_min_;
    std::int64_t maximum = name == "thread-pool-max" ? value : thread_pool_max_;
    if (maximum == 0 || minimum > maximum) return fail("bad thread-pool-min/thread-pool-max values");
  }
  member(name) = value;
  if (thread_ != nullptr && name.starts_with("poll-")) {
    aio::Reactor& reactor = thread_->place().reactor;
    reactor.post([&reactor, limits = busy_poll()] { reactor.set_busy_poll(limits); });
  }
  return {};
}

aio::BusyPollLimits IothreadObject::busy_poll() const {
  return {.max_ns = static_cast<std::uint64_t>(poll_max_ns_),
          .grow = static_cast<std::uint64_t>(poll_grow_),
          .shrink = static_cast<std::uint64_t>(poll_shrink_)};
}

}  // namespace blockexport::control
