#include "control/monitor_object.h"

#include <fmt/format.h>

#include <array>

#include "control/control.h"

namespace blockexport::control {
namespace {

constexpr std::array<PropertyDescription, 3> kProperties{
    {{"chardev", "string"}, {"pretty", "bool"}, {"close-action", "MonitorQMPCloseAction"}}};

}  // namespace

MonitorObject::MonitorObject(Control& control, std::string id, const schema::MonitorQMPProperties& properties)
    : UserObject(std::move(id)),
      control_(control),
      runner_(control),
      chardev_(properties.chardev),
      pretty_(properties.pretty.value_or(false)),
      close_action_(properties.close_action.value_or(schema::MonitorQMPCloseAction::kNone)) {}

Result<std::unique_ptr<UserObject>> MonitorObject::create(Control& control, const schema::ObjectOptions& options) {
  return std::make_unique<MonitorObject>(control, options.id, options.as<schema::ObjectType::kMonitorQmp>());
}

std::span<const PropertyDescription> MonitorObject::property_list() {
  return kProperties;
}

json::Value MonitorObject::get(std::string_view name) const {
  if (name == "chardev") return chardev_;
  if (name == "pretty") return pretty_;
  return schema::name_of(close_action_);
}

std::span<const PropertyDescription> MonitorObject::common_properties() {
  return property_list().first(1);
}

Result<> MonitorObject::set(std::string_view name, const json::Value& value) {
  if (name == "chardev") return fail(fmt::format("Property '{}.{}' is not writable", type_name(), name));
  if (name == "pretty") {
    const bool* pretty = value.as_bool();
    if (pretty == nullptr) return fail(fmt::format("Invalid parameter type for '{}', expected: boolean", name));
    pretty_ = *pretty;
    monitor_->set_pretty(pretty_);
    return {};
  }
  const std::string* text = value.as_string();
  if (text == nullptr) return fail(fmt::format("Invalid parameter type for '{}', expected: string", name));
  auto action = schema::value_of<schema::MonitorQMPCloseAction>(*text);
  if (!action) return fail(fmt::format("Parameter '{}' does not accept value '{}'", name, *text));
  close_action_ = *action;
  return {};
}

aio::Task<Result<>> MonitorObject::complete() {
  chardev::Chardev* chardev = control_.chardevs().find(chardev_);
  if (chardev == nullptr) co_return fail(fmt::format("chardev \"{}\" not found", chardev_));
  if (chardev->has_frontend()) co_return fail(fmt::format("chardev '{}' is already in use", chardev_));
  qmp::SessionContext context{.reactor = control_.reactor(),
                              .runner = runner_,
                              .events = control_.events(),
                              .log = control_.log(),
                              .monitor = id(),
                              .pretty = pretty_,
                              .offers_out_of_band = chardev->allows_out_of_band()};
  monitor_ = std::make_unique<qmp::Monitor>(std::move(context), *chardev, [this] { client_left(); });
  if (control_.is_serving()) begin_service();
  co_return Result<>();
}

void MonitorObject::begin_service() {
  monitor_->start();
}

aio::Task<void> MonitorObject::close() {
  if (monitor_ != nullptr) co_await monitor_->stop();
}

void MonitorObject::client_left() {
  if (close_action_ == schema::MonitorQMPCloseAction::kDelete) control_.remove_monitor_later(id(), chardev_);
}

}  // namespace blockexport::control
