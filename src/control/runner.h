// Runner: QMP's commands, looked up in the generated table and run on a Control.
#pragma once

#include "control/control.h"
#include "qmp/command.h"

namespace blockexport::control {

class Runner final : public qmp::CommandRunner {
 public:
  explicit Runner(Control& control) : control_(control) {}

  aio::Task<Result<json::Value>> run(qmp::Command command) override;
  json::Value version() const override;

 private:
  Control& control_;
};

}  // namespace blockexport::control
