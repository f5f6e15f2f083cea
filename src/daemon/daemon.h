// Daemon: the life of the process between the command line and exit: start everything, serve, end everything in order.
// Owns the control reactor and the control, which owns all others; main thread.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "control/control.h"
#include "daemon/command_line.h"
#include "daemon/daemonize.h"
#include "drivers/driver_table.h"
#include "net/inherited_descriptors.h"

namespace blockexport::daemon {

// How long the end of the process may take beyond the grace of clients. What has not ended by then never may: a disk
// that does not answer, or a module.
inline constexpr std::uint64_t kShutdownMaxNs = 1'500'000'000;

class Daemon {
 public:
  // `trace` is the log's, to be switched by --trace; `inherited` is what the command line may name by number. All of
  // them outlive it. `log_file`, borrowed, is what the log goes to when that is not standard error, else -1: then
  // standard error goes there too once the daemon serves.
  Daemon(CommandLine command_line, const Log& log, Trace& trace, net::InheritedDescriptors& inherited,
         int log_file = -1);
  ~Daemon();

  // Until a signal, the command quit, or a failure to start; the exit code.
  int run(std::optional<Background> background);

 private:
  [[noreturn]] void leave();
  control::DataReactorOptions data_reactors() const;
  aio::Task<void> live(std::optional<Background> background);
  aio::Task<void> start();
  aio::Task<void> watch_signals(int signal_fd);
  aio::Task<void> limit_shutdown();
  aio::Task<void> shut_down();
  std::string tasks_left() const;
  aio::Task<Result<>> finish_start(std::optional<Background>& background);
  void report_failed_start(const std::string& why);

  CommandLine command_line_;
  const Log& log_;
  Trace& trace_;
  net::InheritedDescriptors& inherited_;
  int log_file_;
  std::unique_ptr<aio::Reactor> reactor_;
  drivers::BuiltInDrivers drivers_;
  std::unique_ptr<control::Control> control_;
  std::unique_ptr<aio::Event> quit_;
  std::optional<PidFile> pid_file_;
  std::optional<int> exit_code_;
};

}  // namespace blockexport::daemon
