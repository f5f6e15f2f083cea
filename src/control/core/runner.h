// Runner: QMP's commands, looked up in the generated table and run on a Control, in an order over all monitors.
//
// Commands begin in the order in which they came. One runs alone, except that a command which opens something waits
// beside the others: what it opens may never answer. Such a command reserves the name that it gives, and what it does
// once it has opened everything is either a change of the graph or has no await in it, so that no other command sees
// half of it. Each monitor still waits for its own command. One Runner for each monitor; thread: the control reactor.
#pragma once

#include "control/core/control.h"
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
  aio::Task<Result<json::Value>> run_alone(const schema::CommandEntry& entry, const qmp::Command& command);
  aio::Task<Result<json::Value>> run_beside_others(const schema::CommandEntry& entry, const json::Value* arguments);
  aio::Task<Result<json::Value>> open(const schema::CommandEntry& entry, const json::Value* arguments);

  Control& control_;
};

}  // namespace blockexport::control
