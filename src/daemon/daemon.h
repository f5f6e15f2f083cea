// Daemon: start-up, service and orderly shutdown of the process, from the parsed command line to the exit code. Owns
// the control reactor, and the Control, which owns all other objects. Main thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "configuration/reading.h"
#include "control/configuration/configurator.h"
#include "control/configuration/runtime_keeper.h"
#include "control/core/control.h"
#include "control/core/corruption_events.h"
#include "control/core/point_in_time_log.h"
#include "control/core/quorum_events.h"
#include "control/metrics/metrics_service.h"
#include "control/objects/throttle_groups.h"
#include "daemon/command_line.h"
#include "daemon/daemonize.h"
#include "daemon/service_notifier.h"
#include "drivers/driver_table.h"
#include "net/inherited_descriptors.h"
#include "net/named_sockets.h"

namespace blockexport::daemon {

// Longest shutdown beyond the clients' grace period. A task that has not ended by then may never end: it may wait for a
// disk that does not answer, or for a PAM module.
inline constexpr std::uint64_t kShutdownMaxNs = 1'500'000'000;

class Daemon {
 public:
  // `trace`: the log's, which --trace configures; `inherited`: the descriptors that the command line may name by
  // number; `notifier`: told of the start and the end. All references outlive the Daemon. `log_file` (borrowed): the
  // file of --log-file, to which standard error is redirected once the daemon serves; -1 without one.
  Daemon(CommandLine command_line, const Log& log, Trace& trace, net::InheritedDescriptors& inherited,
         const ServiceNotifier& notifier, int log_file = -1);
  ~Daemon();

  // Gives it the configuration of --config, which was read. Call it before run().
  void configure(configuration::ReadConfiguration configuration) { configuration_ = std::move(configuration); }

  // Runs until a signal, the command quit, or a failed start; returns the exit code.
  int run(std::optional<Background> background);

 private:
  [[noreturn]] void exit_now();
  Result<> set_reference_policy();
  control::DataReactorOptions data_reactors() const;
  aio::Task<void> serve_until_quit(std::optional<Background> background);
  aio::Task<void> start();
  aio::Task<void> apply_configuration();
  aio::Task<void> check_configuration();
  control::ProcessOptions process_options();
  Result<std::move_only_function<void()>> prepare_log(const schema::LogConfiguration& log);
  void begin_reload();
  aio::Task<void> reload();
  aio::Task<void> watch_signals(int signal_fd);
  aio::Task<void> limit_shutdown();
  aio::Task<void> shut_down();
  std::string tasks_left() const;
  aio::Task<Result<>> finish_start(std::optional<Background>& background);
  Result<> go_to_background(Background& background);
  void announce_service() const;
  void report_failed_start(const std::string& why);

  CommandLine command_line_;
  const Log& log_;
  Trace& trace_;
  net::InheritedDescriptors& inherited_;
  const ServiceNotifier& notifier_;
  net::NamedSockets named_sockets_{inherited_};
  int log_file_;
  bool has_standard_error_ = true;  // false: in the background, without the one of the start
  bool short_poll_ = false;         // of the reactors without an iothread object
  std::unique_ptr<aio::Reactor> reactor_;
  control::PointInTimeLog point_in_time_log_{log_};
  control::CorruptionEvents corruption_events_;
  control::QuorumEvents quorum_events_;
  drivers::BuiltInDrivers drivers_{&point_in_time_log_, &log_};
  std::unique_ptr<control::Control> control_;
  std::unique_ptr<control::MetricsService> metrics_;
  std::optional<configuration::ReadConfiguration> configuration_;  // until it takes effect
  std::unique_ptr<control::Configurator> configurator_;            // only with --config
  std::unique_ptr<control::RuntimeKeeper> runtime_;                // only with persist-runtime
  std::unique_ptr<aio::Scope> reloads_;
  unsigned reloads_wanted_ = 0;  // by SIGHUP: the one that runs, and one more
  std::optional<control::ThrottleGroups> throttle_groups_;
  std::unique_ptr<aio::Event> quit_;
  std::optional<PidFile> pid_file_;
  std::optional<int> exit_code_;
};

}  // namespace blockexport::daemon
