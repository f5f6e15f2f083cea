// Runner: QMP's commands, looked up in the generated table and run on a Control.
#pragma once

#include "control/control.h"
#include "qmp/command.h"
#include "schema/command_entry.h"

namespace blockexport::control {

// How long a command may take to open what it names.
inline constexpr std::uint64_t kOpeningMaxNs = 30'000'000'000;

class Runner final : public qmp::CommandRunner {
 public:
  explicit Runner(Control& control) : control_(control) {}

  aio::Task<Result<json::Value>> run(qmp::Command command) override;
  json::Value version() const override;

 private:
  aio::Task<Result<json::Value>> run_within_limit(const schema::CommandEntry& entry, const json::Value* arguments);

  Control& control_;
};

}  // namespace blockexport::control
