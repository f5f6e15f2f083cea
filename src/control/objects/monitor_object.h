// MonitorObject: the object type "monitor-qmp": QMP on a chardev. The option --monitor makes one, too.
//
// It claims its chardev in complete(), and serves clients once the daemon serves. It may remove itself and its chardev
// when a client leaves (close-action). At the daemon's end it is closed after everything else, because it sends the
// reply to `quit`. Owned by the ObjectStore; thread: the control reactor.
#pragma once

#include "control/core/runner.h"
#include "control/objects/object_properties.h"
#include "qmp/monitor.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class MonitorObject final : public ObjectOf<schema::MonitorQMPProperties> {
 public:
  MonitorObject(Control& control, std::string id, schema::MonitorQMPProperties properties);

  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "monitor-qmp"; }
  // The chardev cannot change.
  bool is_writable(std::string_view name) const override { return name != "chardev"; }
  bool serves_commands() const override { return true; }
  void begin_service() override;

  // Errors: a chardev that does not exist, or that another user has.
  aio::Task<Result<>> complete() override;
  // Ends the session of its client, after sending the replies that are ready.
  aio::Task<void> close() override;

 private:
  Result<> change(std::string_view name, schema::MonitorQMPProperties changed) override;
  void client_left();

  Control& control_;
  Runner runner_;
  std::unique_ptr<qmp::Monitor> monitor_;
};

}  // namespace blockexport::control
