// MonitorObject: the object type "monitor-qmp": QMP on a chardev. The option --monitor makes one as well.
//
// It holds its chardev from when it is completed, and serves clients from when the daemon serves. It may remove itself
// and its chardev when a client leaves (close-action). At the daemon's end it is closed after everything else, since
// the answer to `quit` goes over it. Owned by the ObjectStore; thread: the control reactor.
#pragma once

#include "control/object_store.h"
#include "control/runner.h"
#include "qmp/monitor.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class MonitorObject final : public UserObject {
 public:
  MonitorObject(Control& control, std::string id, const schema::MonitorQMPProperties& properties);

  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();
  // Those that a monitor has whatever it speaks.
  static std::span<const PropertyDescription> common_properties();

  std::string_view type_name() const override { return "monitor-qmp"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  // Errors: a wrong type or value; the chardev, which is the one it was made with.
  Result<> set(std::string_view name, const json::Value& value) override;
  bool serves_commands() const override { return true; }
  void begin_service() override;

  // Errors: a chardev that is not there, or that something else uses.
  aio::Task<Result<>> complete() override;
  // Ends the session of its client; what was answered is sent first.
  aio::Task<void> close() override;

 private:
  void client_left();

  Control& control_;
  Runner runner_;
  std::string chardev_;
  bool pretty_;
  schema::MonitorQMPCloseAction close_action_;
  std::unique_ptr<qmp::Monitor> monitor_;
};

}  // namespace blockexport::control
