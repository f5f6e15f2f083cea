// Runner: execution of QMP commands from the generated table on a Control, in one order over all monitors.
//
// Commands begin in the order of their arrival. A command runs exclusively, except that one which opens something waits
// while others run: the file or address that it opens may never respond. Such a command reserves the name that it
// assigns; after everything is open, its remaining work is either a change of the graph or has no await, so that no
// other command sees an incomplete state. Others run also beside a command that is nothing but a change of the graph,
// which may take long. Each monitor still waits for its own command. One Runner for each monitor;
// thread: the control reactor.
#pragma once

#include "control/core/control.h"
#include "qmp/command.h"
#include "schema/command_entry.h"

namespace blockexport::control {

// Time limit for a command that opens something.
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
