#include "control/objects/monitor_object.h"

#include <fmt/format.h>

#include "control/core/control.h"

namespace blockexport::control {
namespace {

schema::MonitorQMPProperties with_defaults(schema::MonitorQMPProperties properties) {
  if (!properties.pretty) properties.pretty = false;
  if (!properties.close_action) properties.close_action = schema::MonitorQMPCloseAction::kNone;
  return properties;
}

}  // namespace

MonitorObject::MonitorObject(Control& control, std::string id, schema::MonitorQMPProperties properties)
    : ObjectOf(std::move(id), with_defaults(std::move(properties))), control_(control), runner_(control) {}

Result<std::unique_ptr<UserObject>> MonitorObject::create(Control& control, const schema::ObjectOptions& options) {
  return std::make_unique<MonitorObject>(control, options.id, options.as<schema::ObjectType::kMonitorQmp>());
}

Result<> MonitorObject::change(std::string_view name, schema::MonitorQMPProperties changed) {
  monitor_->set_pretty(*changed.pretty);
  return ObjectOf::change(name, std::move(changed));
}

aio::Task<Result<>> MonitorObject::complete() {
  const std::string& name = shown().chardev;
  chardev::Chardev* chardev = control_.chardevs().find(name);
  if (chardev == nullptr) co_return fail(fmt::format("chardev \"{}\" not found", name));
  if (chardev->has_frontend()) co_return fail(fmt::format("chardev '{}' is already in use", name));
  qmp::SessionContext context{.reactor = control_.reactor(),
                              .runner = runner_,
                              .events = control_.events(),
                              .log = control_.log(),
                              .monitor = id(),
                              .pretty = *shown().pretty,
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
  if (*shown().close_action != schema::MonitorQMPCloseAction::kDelete) return;
  control_.remove_monitor_later(id(), shown().chardev);
}

}  // namespace blockexport::control
