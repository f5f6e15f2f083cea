// Startup: the second pass over the command line. Each option is carried out like the QMP command it stands for, left
// to right; a name must exist before it is used. Runs as a task of the control reactor.
#pragma once

#include <memory>
#include <vector>

#include "control/control.h"
#include "control/runner.h"
#include "daemon/command_line.h"
#include "qmp/monitor.h"

namespace blockexport::daemon {

class Startup {
 public:
  // `trace` is what --trace switches; `monitors` receives what --monitor makes; they are not started yet.
  Startup(control::Control& control, control::Runner& runner, aio::Mutex& command_mutex, Trace& trace,
          std::vector<std::unique_ptr<qmp::Monitor>>& monitors, bool daemonized)
      : control_(control),
        runner_(runner),
        command_mutex_(command_mutex),
        trace_(trace),
        monitors_(monitors),
        daemonized_(daemonized) {}

  // Help was asked for and printed: exit with this code.
  struct Exit {
    int code;
  };

  // Carries out one option. An error is a message without the option it belongs to.
  aio::Task<Result<std::optional<Exit>>> run(StartOption option);

 private:
  using Outcome = Result<std::optional<Exit>>;
  aio::Task<Outcome> run_blockdev(std::string_view argument);
  aio::Task<Outcome> run_export(std::string_view argument);
  aio::Task<Outcome> run_nbd_server(std::string_view argument);
  aio::Task<Outcome> run_listen(std::string_view argument);
  aio::Task<Outcome> run_object(std::string_view argument);
  aio::Task<Outcome> run_chardev(const StartOption& option);
  Outcome run_monitor(std::string_view argument);

  control::Control& control_;
  control::Runner& runner_;
  aio::Mutex& command_mutex_;
  Trace& trace_;
  std::vector<std::unique_ptr<qmp::Monitor>>& monitors_;
  bool daemonized_;
};

}  // namespace blockexport::daemon
