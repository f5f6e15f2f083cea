#include "control/objects/iothread_object.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/core/control.h"

namespace blockexport::control {
namespace {

// Maximum number of worker threads of one iothread, even if its thread-pool-max is larger.
constexpr std::int64_t kIothreadWorkersMax = 64;

// The property is the number of bits by which an average is shifted.
constexpr std::int64_t kPollWeightMax = 63;

schema::IothreadProperties with_defaults(schema::IothreadProperties properties) {
  properties.aio_max_batch = properties.aio_max_batch.value_or(0);
  properties.thread_pool_min = properties.thread_pool_min.value_or(0);
  properties.thread_pool_max = properties.thread_pool_max.value_or(64);
  properties.poll_max_ns = properties.poll_max_ns.value_or(32768);
  // For these properties, 0 means the default.
  if (properties.poll_grow.value_or(0) == 0) properties.poll_grow = 2;
  if (properties.poll_shrink.value_or(0) == 0) properties.poll_shrink = 2;
  if (properties.poll_weight.value_or(0) == 0) properties.poll_weight = 3;
  return properties;
}

std::int64_t largest(std::string_view name) {
  return name == "poll-weight" ? kPollWeightMax : INT64_MAX;
}

// Checks the value of the property `name`. `properties` has all values.
Result<> check(const schema::IothreadProperties& properties, std::string_view name) {
  const std::int64_t value = *property_of(properties, name).as_integer();
  if (value < 0 || value > largest(name)) {
    return fail(fmt::format("{} value must be in range [0, {}]", name, largest(name)));
  }
  if (!name.starts_with("thread-pool-")) return {};
  const std::int64_t maximum = *properties.thread_pool_max;
  if (maximum > 0 && maximum <= INT32_MAX && *properties.thread_pool_min <= maximum) return {};
  return fail("bad thread-pool-min/thread-pool-max values");
}

// Checks all properties, in the order of qemu-storage-daemon.
constexpr std::string_view kChecked[] = {"poll-max-ns",   "poll-grow",       "poll-shrink",    "poll-weight",
                                         "aio-max-batch", "thread-pool-max", "thread-pool-min"};

}  // namespace

Result<std::unique_ptr<UserObject>> IothreadObject::create(Control& control, const schema::ObjectOptions& options) {
  const schema::IothreadProperties properties = with_defaults(options.as<schema::ObjectType::kIothread>());
  for (std::string_view name : kChecked) TRY(check(properties, name));
  return std::unique_ptr<UserObject>(new IothreadObject(control, options.id, properties));
}

aio::Task<Result<>> IothreadObject::complete() {
  aio::ReactorOptions options = control_.reactor_options();
  options.worker_threads_max =
      static_cast<std::uint32_t>(std::min<std::int64_t>(*shown().thread_pool_max, kIothreadWorkersMax));
  options.busy_poll = busy_poll();
  options.short_poll = false;
  CO_TRY_ASSIGN(thread_, aio::ReactorThread::start(id(), options, control_.log()));
  co_return Result<>();
}

Result<> IothreadObject::change(std::string_view name, schema::IothreadProperties changed) {
  TRY(check(changed, name));
  show(with_defaults(std::move(changed)));
  if (thread_ != nullptr && name.starts_with("poll-")) {
    aio::Reactor& reactor = thread_->data_reactor().reactor;
    reactor.post([&reactor, limits = busy_poll()] { reactor.set_busy_poll(limits); });
  }
  return {};
}

aio::BusyPollLimits IothreadObject::busy_poll() const {
  return {.max_ns = static_cast<std::uint64_t>(*shown().poll_max_ns),
          .grow = static_cast<std::uint64_t>(*shown().poll_grow),
          .shrink = static_cast<std::uint64_t>(*shown().poll_shrink)};
}

}  // namespace blockexport::control
