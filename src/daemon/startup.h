// Startup: the second pass over the command line. Each option is carried out like the QMP command it stands for, left
// to right; a name must exist before it is used. Runs as a task of the control reactor.
#pragma once

#include <memory>
#include <vector>

#include "control/control.h"
#include "daemon/command_line.h"

namespace blockexport::daemon {

class Startup {
 public:
  // `trace` is what --trace switches.
  Startup(control::Control& control, Trace& trace, bool daemonized)
      : control_(control), trace_(trace), daemonized_(daemonized) {}

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
  aio::Task<Outcome> run_monitor(std::string_view argument);

  control::Control& control_;
  Trace& trace_;
  bool daemonized_;
  unsigned unnamed_monitors_ = 0;
};

}  // namespace blockexport::daemon
