#include "control/iothread_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/control.h"

namespace blockexport::control {
namespace {

// Worker threads of one iothread, whatever its thread-pool-max.
constexpr std::int64_t kIothreadWorkersMax = 64;

// The first ones are those of any event loop.
constexpr std::size_t kEventLoopProperties = 3;
constexpr std::array<PropertyDescription, 7> kProperties{{{"thread-pool-min", "int"},
                                                          {"aio-max-batch", "int"},
                                                          {"thread-pool-max", "int"},
                                                          {"poll-max-ns", "int"},
                                                          {"poll-grow", "int"},
                                                          {"poll-shrink", "int"},
                                                          {"poll-weight", "int"}}};

// A number of bits that an average is shifted by.
constexpr std::int64_t kPollWeightMax = 63;

// What 0 stands for, in those properties that have such a value.
constexpr std::pair<std::string_view, std::int64_t> kDefaults[] = {
    {"poll-grow", 2}, {"poll-shrink", 2}, {"poll-weight", 3}};

std::int64_t largest(std::string_view name) {
  return name == "poll-weight" ? kPollWeightMax : INT64_MAX;
}

}  // namespace

std::span<const PropertyDescription> IothreadObject::property_list() {
  return kProperties;
}

std::span<const PropertyDescription> IothreadObject::event_loop_properties() {
  return property_list().first(kEventLoopProperties);
}

Result<std::unique_ptr<UserObject>> IothreadObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kIothread>();
  std::unique_ptr<IothreadObject> object(new IothreadObject(control, options.id));
  // The maximum first: a minimum above the default maximum is fine when both are given.
  const std::pair<std::string_view, std::optional<std::int64_t>> given[] = {
      {"poll-max-ns", properties.poll_max_ns},        {"poll-grow", properties.poll_grow},
      {"poll-shrink", properties.poll_shrink},        {"poll-weight", properties.poll_weight},
      {"aio-max-batch", properties.aio_max_batch},    {"thread-pool-max", properties.thread_pool_max},
      {"thread-pool-min", properties.thread_pool_min}};
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
  if (name == "poll-weight") return poll_weight_;
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
  if (value < 0 || value > largest(name)) {
    return fail(fmt::format("{} value must be in range [0, {}]", name, largest(name)));
  }
  if (name.starts_with("thread-pool-")) {
    std::int64_t minimum = name == "thread-pool-min" ? value : thread_pool_min_;
    std::int64_t maximum = name == "thread-pool-max" ? value : thread_pool_max_;
    if (maximum == 0 || maximum > INT32_MAX || minimum > maximum)
      return fail("bad thread-pool-min/thread-pool-max values");
  }
  for (const auto& [property, standard] : kDefaults) {
    if (value == 0 && name == property) value = standard;
  }
  member(name) = value;
  if (thread_ != nullptr && name.starts_with("poll-")) {
    aio::Reactor& reactor = thread_->data_reactor().reactor;
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
