#include "control/objects/throttle_group_object.h"

#include <fmt/format.h>

#include <optional>

#include "control/core/control.h"
#include "control/objects/object_properties.h"

namespace blockexport::control {
namespace {

using drivers::ThrottleLimits;
using drivers::ThrottleMetric;
using drivers::ThrottleRate;

struct NamedMetric {
  std::string_view name;
  ThrottleMetric metric;
};

constexpr NamedMetric kMetrics[] = {
    {"bps-total", ThrottleMetric::kBytes},        {"bps-read", ThrottleMetric::kBytesRead},
    {"bps-write", ThrottleMetric::kBytesWritten}, {"iops-total", ThrottleMetric::kRequests},
    {"iops-read", ThrottleMetric::kReads},        {"iops-write", ThrottleMetric::kWrites},
};

// The value that a member of the schema's struct stands for; `name` is that of a member.
std::uint64_t& value_named(ThrottleLimits& limits, std::string_view name) {
  for (const NamedMetric& one : kMetrics) {
    if (!name.starts_with(one.name)) continue;
    ThrottleRate& rate = limits.of(one.metric);
    const std::string_view rest = name.substr(one.name.size());
    if (rest.empty()) return rate.average;
    return rest == "-max" ? rate.burst : rate.burst_length_s;
  }
  return limits.request_bytes;
}

constexpr std::string_view kFlatPrefix = "x-";

// Takes the members that are given. A negative number becomes one that is out of range, as in the reference.
Result<> take_limits(ThrottleLimits& limits, const schema::ThrottleLimits& given) {
  Result<> result;
  given.for_each_member([&](std::string_view name, const std::optional<std::int64_t>& value) {
    if (!value || !result) return;
    if (name.ends_with("-length") && *value > UINT32_MAX) {
      result = fail(fmt::format("{} value must be in the range [0, {}]", name, UINT32_MAX));
      return;
    }
    value_named(limits, name) = static_cast<std::uint64_t>(*value);
  });
  TRY(std::move(result));
  return drivers::check_throttle_limits(limits);
}

Result<> take_flat(ThrottleLimits& limits, std::string_view name, std::int64_t value) {
  if (value < 0) return fail("Property values cannot be negative");
  if (name.ends_with("-length") && value > UINT32_MAX) {
    // The reference leaves the blank out.
    return fail(fmt::format("{} value must be in therange [0, {}]", name, UINT32_MAX));
  }
  value_named(limits, name.substr(kFlatPrefix.size())) = static_cast<std::uint64_t>(value);
  return {};
}

Result<ThrottleLimits> limits_of(const schema::ThrottleGroupProperties& properties) {
  ThrottleLimits limits;
  Result<> result;
  properties.for_each_member([&]<class Member>(std::string_view name, const std::optional<Member>& value) {
    if constexpr (std::is_same_v<Member, std::int64_t>) {
      if (value && result) result = take_flat(limits, name, *value);
    }
  });
  TRY(std::move(result));
  if (properties.limits) {
    TRY(take_limits(limits, *properties.limits));
  } else {
    TRY(drivers::check_throttle_limits(limits));
  }
  return limits;
}

schema::ThrottleLimits shown(ThrottleLimits limits) {
  schema::ThrottleLimits all;
  all.for_each_member([&](std::string_view name, std::optional<std::int64_t>& value) {
    value = static_cast<std::int64_t>(value_named(limits, name));
  });
  return all;
}

}  // namespace

Result<std::unique_ptr<UserObject>> ThrottleGroupObject::create(Control& control,
                                                                const schema::ObjectOptions& options) {
  TRY_ASSIGN(const ThrottleLimits limits, limits_of(options.as<schema::ObjectType::kThrottleGroup>()));
  auto group = std::make_shared<drivers::ThrottleGroup>(limits, control.reactor().now_ns());
  return std::unique_ptr<UserObject>(new ThrottleGroupObject(control, options.id, std::move(group)));
}

std::span<const schema::Property> ThrottleGroupObject::properties() const {
  return schema::Properties<schema::ThrottleGroupProperties>::kAll;
}

json::Value ThrottleGroupObject::get(std::string_view name) const {
  ThrottleLimits limits = group_->limits();
  if (name.starts_with(kFlatPrefix)) {
    return static_cast<std::int64_t>(value_named(limits, name.substr(kFlatPrefix.size())));
  }
  return schema::encode(shown(limits));
}

Result<> ThrottleGroupObject::set(std::string_view name, const json::Value& value) {
  if (name != "limits") return fail("Property cannot be set after initialization");
  TRY_ASSIGN(const schema::ThrottleGroupProperties given,
             with_property(schema::ThrottleGroupProperties(), name, value));
  ThrottleLimits limits = group_->limits();
  if (given.limits) TRY(take_limits(limits, *given.limits));
  group_->set_limits(limits, control_.reactor().now_ns());
  return {};
}

Result<> ThrottleGroupObject::check_removable() const {
  if (group_->member_count() == 0) return {};
  return fail(fmt::format("Cannot delete throttle group '{}' with active references", id()));
}

void ThrottleGroupObject::begin_shutdown() {
  group_->set_limits({}, control_.reactor().now_ns());
}

}  // namespace blockexport::control
