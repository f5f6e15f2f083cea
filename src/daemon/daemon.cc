#include "daemon/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string_view>

#include "aio/sync/with_deadline.h"
#include "aio/threads/processor_share.h"
#include "base/secret_bytes.h"
#include "control/configuration/full_check.h"
#include "daemon/configuration_option.h"
#include "daemon/default_monitor.h"
#include "daemon/path_hint.h"
#include "daemon/startup.h"
#include "daemon/watchdog.h"

namespace blockexport::daemon {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// The creation of a file may wait for a file system that does not answer, so a worker does it; it shares this struct.
struct PidFileMaking {
  std::string path;
  std::optional<Result<PidFile>> made = {};

  static std::int64_t make(void* making) {
    auto& self = *static_cast<PidFileMaking*>(making);
    self.made.emplace(PidFile::create(self.path));
    return 0;
  }
};

aio::Task<Result<PidFile>> create_pid_file(aio::Reactor& reactor, std::string path) {
  auto making = std::make_shared<PidFileMaking>();
  making->path = std::move(path);
  const std::shared_ptr<void> shared = making;
  auto done = co_await reactor.call_abandonably(PidFileMaking::make, shared);
  if (!done) co_return fail(Error::system("cannot create PID file", done.error()));
  co_return std::move(*making->made);
}

// Signals that shut the daemon down. They arrive through a signalfd: no code runs in a signal handler.
sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

// Raises the limit to the maximum, since each client takes a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Daemon::Daemon(CommandLine command_line, const Log& log, Trace& trace, net::InheritedDescriptors& inherited,
               const ServiceNotifier& notifier, int log_file)
    : command_line_(std::move(command_line)),
      log_(log),
      trace_(trace),
      inherited_(inherited),
      notifier_(notifier),
      log_file_(log_file) {}

Daemon::~Daemon() = default;

int Daemon::run(std::optional<Background> background) {
  // qemu-storage-daemon ignores these signals, so their senders do not expect them to end the process.
  for (int number : {SIGUSR1, SIGALRM, SIGIO}) signal(number, SIG_IGN);
  raise_descriptor_limit();
  sigset_t signals = ending_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  OwnedFd signal_fd(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));

  short_poll_ = command_line_.polling == Polling::kAuto && aio::has_processor_to_poll();
  auto reactor = aio::Reactor::create({.backend = command_line_.backend,
                                       .restricted_ring = command_line_.sandbox.mode != SandboxMode::kOff,
                                       .short_poll = short_poll_},
                                      log_);
  if (!reactor) {
    report_failed_start(reactor.error().message());
    return 1;
  }
  reactor_ = std::move(*reactor);
  if (Result<> set = set_reference_policy(); !set) {
    report_failed_start(set.error().message());
    return command_line_.check_config ? kConfigurationErrorExit : 1;
  }
  quit_ = std::make_unique<aio::Event>(*reactor_);
  control_ = std::make_unique<control::Control>(*reactor_, data_reactors(), log_, drivers_, [this] { quit_->set(); });
  metrics_ = std::make_unique<control::MetricsService>(*control_);
  corruption_events_.open(*reactor_, control_->events());
  drivers_.set_corruption_observer(corruption_events_);
  quorum_events_.open(*reactor_, control_->events());
  drivers_.set_quorum_observer(quorum_events_);
  throttle_groups_.emplace(control_->objects());
  drivers_.set_throttle_groups(*throttle_groups_);
  drivers_.set_secrets(control_->secrets());
  control_->set_named_sockets(named_sockets_);
  control_->set_denial_note(sandbox_note(command_line_.sandbox));
  control_->set_shutdown_grace_ns(command_line_.shutdown_grace_seconds * kNanosecondsPerSecond);

  aio::Scope scope(*reactor_);
  aio::Scope signals_scope(*reactor_);
  signals_scope.spawn("signals", watch_signals(signal_fd.get()));
  signals_scope.spawn("shutdown limit", limit_shutdown());
  signals_scope.spawn("watchdog", run_watchdog(*control_, notifier_));
  reloads_ = std::make_unique<aio::Scope>(*reactor_);
  scope.spawn("daemon", command_line_.check_config ? check_configuration() : serve_until_quit(std::move(background)));
  while (scope.size() > 0) reactor_->run_once(UINT64_MAX);
  signals_scope.cancel();
  while (signals_scope.size() > 0) reactor_->run_once(UINT64_MAX);
  if (!control_->can_be_destroyed() || reactor_->has_abandoned_calls()) exit_now();
  corruption_events_.close();
  quorum_events_.close();
  metrics_.reset();
  reloads_.reset();
  runtime_.reset();
  configurator_.reset();
  control_.reset();
  pid_file_.reset();
  return exit_code_.value_or(0);
}

Result<> Daemon::set_reference_policy() {
  const ImageReferenceOptions& given = command_line_.image_references;
  if (given.rule == "deny") drivers_.set_reference_policy(drivers::ReferencePolicy::deny());
  if (given.directories.empty()) return {};
  auto directories = drivers::AllowedDirectories::open(given.directories);
  if (!directories) return fail(std::move(directories).error().with_prefix("--image-references: "));
  drivers_.set_reference_policy(drivers::ReferencePolicy::beneath(std::move(*directories)));
  return {};
}

// Ends the process without waiting for tasks or threads that may never end: removes sockets and the PID file, flushes
// the log, and lets the kernel free the rest. Acknowledged writes are with the kernel already.
void Daemon::exit_now() {
  control_->chardevs().clear();
  pid_file_.reset();
  (void)std::fflush(nullptr);
  log_.flush();
  _exit(exit_code_.value_or(0));
}

// They use the control reactor's backend, so that a fallback is not logged again.
control::DataReactorOptions Daemon::data_reactors() const {
  control::DataReactorOptions options;
  options.each.restricted_ring = command_line_.sandbox.mode != SandboxMode::kOff;
  options.each.backend = reactor_->backend_name() == "epoll" ? aio::BackendKind::kEpoll : command_line_.backend;
  options.each.short_poll = short_poll_;
  options.count_max = command_line_.reactors.value_or(std::min(aio::usable_processors(), aio::kDataReactorsMax));
  return options;
}

aio::Task<void> Daemon::serve_until_quit(std::optional<Background> background) {
  aio::Scope starting(*reactor_);
  starting.spawn("startup", start());
  // A start that waits for a client (wait=on) can be interrupted by a signal.
  aio::Scope interrupt(*reactor_);
  auto cancel_on_quit = [](aio::Event& quit, aio::Scope& to_cancel) -> aio::Task<void> {
    if (co_await quit.wait()) to_cancel.cancel();
  };
  interrupt.spawn("startup interrupt", cancel_on_quit(*quit_, starting));
  co_await starting.join();
  interrupt.cancel();
  co_await interrupt.join();

  if (!exit_code_ && !quit_->is_set()) {
    if (Result<> finished = co_await finish_start(background); finished) {
      log_.trace().note(TraceEvent::kDaemonServing, {"backend ", reactor_->backend_name()});
      control_->serve();
      announce_service();
      (void)co_await quit_->wait();
      notifier_.stopping("Ending: clients receive their last replies");
    } else {
      report_failed_start(finished.error().message());
      exit_code_ = 1;
    }
  }
  co_await shut_down();
}

aio::Task<void> Daemon::shut_down() {
  // Starts the time limit of the shutdown, whatever its reason.
  quit_->set();
  reloads_->cancel();
  co_await reloads_->join();
  for (const auto& object : control_->objects().all()) object->begin_shutdown();
  co_await control_->shut_down();
  // Until here the page /readyz tells that the process ends.
  co_await metrics_->close();
  co_await control_->close_monitors();
  co_await control_->events().close();
}

aio::Task<void> Daemon::limit_shutdown() {
  if (!co_await quit_->wait()) co_return;
  const std::uint64_t limit_ns = command_line_.shutdown_grace_seconds * kNanosecondsPerSecond + kShutdownMaxNs;
  if (!co_await reactor_->sleep_until(aio::deadline_after(*reactor_, limit_ns))) co_return;
  log_.warning(fmt::format("the process ends without waiting any longer for: {}", tasks_left()));
  exit_now();
}

// The names of the tasks that still run, each once.
std::string Daemon::tasks_left() const {
  std::set<std::string_view> names;
  for (const aio::TaskRoot& task : reactor_->tasks()) names.insert(task.name);
  for (std::string_view ours : {"signals", "shutdown limit", "daemon", "watchdog"}) names.erase(ours);
  return names.empty() ? "other threads" : fmt::format("{}", fmt::join(names, ", "));
}

aio::Task<void> Daemon::start() {
  if (command_line_.daemonize) control_->set_daemonized();
  Startup startup(*control_, *metrics_, trace_, inherited_);
  for (StartOption& option : command_line_.options) {
    auto outcome = co_await startup.run(option);
    option.argument.clear();
    wipe_dead_stack();
    if (quit_->is_set()) co_return;
    if (!outcome) {
      const Error& error = outcome.error();
      std::string line = fmt::format("{}: {}", option.as_typed, error.message());
      if (!error.hint().empty()) line += "\n" + error.hint();
      report_failed_start(line);
      exit_code_ = 1;
      co_return;
    }
    if (*outcome) {
      exit_code_ = (*outcome)->code;
      co_return;
    }
  }
  if (configuration_) co_await apply_configuration();
}

// As for options of the command line, another process may hold an address or an image for another moment.
aio::Task<void> Daemon::apply_configuration() {
  configurator_ = std::make_unique<control::Configurator>(*control_, configuration_->path, process_options());
  control_->client_events().enable();
  control_->set_configurator(configurator_.get());
  configurator_->mark_command_line();
  const std::uint64_t deadline_ns = reactor_->now_ns() + kBusyStartMaxNs;
  for (;;) {
    Result<> started = co_await configurator_->start(*configuration_);
    if (started) break;
    const bool may_retry = started.error().is_busy() && reactor_->now_ns() < deadline_ns;
    if (may_retry && co_await reactor_->sleep_until(reactor_->now_ns() + kBusyStartPauseNs)) continue;
    const Error& error = started.error();
    report_failed_start(error.message() + (error.hint().empty() ? "" : "\n") + error.hint());
    exit_code_ = 1;
    co_return;
  }
  if (configuration_->content.daemon.persist_runtime.value_or(false)) {
    runtime_ = std::make_unique<control::RuntimeKeeper>(
        *control_,
        [this](configuration::Section section, const std::string& id) { return configurator_->place_of(section, id); },
        *configuration_->content.daemon.state_dir);
    if (Result<> kept = co_await runtime_->start(); !kept) {
      report_failed_start(kept.error().message() + (kept.error().hint().empty() ? "" : "\n") + kept.error().hint());
      exit_code_ = 1;
      co_return;
    }
    control_->set_command_observer(runtime_.get());
    configurator_->set_runtime(*runtime_);
  }
  configuration_.reset();
  co_await make_default_monitor(*control_);
}

aio::Task<void> Daemon::check_configuration() {
  co_await control::check_fully(*control_, *configuration_, command_line_.deep);
  exit_code_ = report_check(*configuration_, command_line_);
  co_await shut_down();
}

control::ProcessOptions Daemon::process_options() {
  return {.metrics = metrics_.get(),
          .prepare_log = [this](const schema::LogConfiguration& log) { return prepare_log(log); },
          .reload_begins = [this] { notifier_.reloading(); },
          .reload_ended = [this] { announce_service(); },
          .on_command_line = command_line_.given};
}

Result<std::move_only_function<void()>> Daemon::prepare_log(const schema::LogConfiguration& log) {
  LogOptions options = with_configuration(command_line_.log, command_line_.given, log);
  options.file = command_line_.log.file;
  std::optional<LogDestination> destination;
  if (options.format != command_line_.log.format) {
    const bool uses_syslog = log_file_ < 0 && !has_standard_error_ && options.format != LogFormat::kJournal;
    if (uses_syslog) {
      destination.emplace(LogDestination::syslog(log_.program_name()));
    } else {
      TRY_ASSIGN(auto chosen, choose_log_destination(options, log_file_));
      destination.emplace(std::move(chosen));
    }
  }
  return [this, options = std::move(options), destination = std::move(destination)]() mutable {
    if (destination) log_.redirect(std::move(*destination));
    if (options.level) log_.selection().choose(*options.level);
    command_line_.log = std::move(options);
  };
}

void Daemon::begin_reload() {
  if (reloads_wanted_ == 2) return;
  if (++reloads_wanted_ == 1) reloads_->spawn("reload", reload());
}

aio::Task<void> Daemon::reload() {
  for (; reloads_wanted_ > 0; --reloads_wanted_) {
    const std::uint64_t deadline_ns = aio::deadline_after(*reactor_, control::kReloadMaxNs);
    auto running = configurator_->reload({});
    // The configurator has logged the outcome.
    (void)co_await aio::with_deadline("reload of the configuration", deadline_ns, std::move(running));
    if (quit_->is_set()) co_return;
  }
}

aio::Task<Result<>> Daemon::finish_start(std::optional<Background>& background) {
  if (command_line_.pidfile) {
    Result<PidFile> file = co_await create_pid_file(*reactor_, *command_line_.pidfile);
    if (!file) {
      const std::string hint = path_hint(*command_line_.pidfile);
      co_return fail(file.error().message() + (hint.empty() ? "" : "\n") + hint);
    }
    pid_file_.emplace(std::move(*file));
  }
  // Lines up to here go to the standard error of the process that started us.
  log_.flush();
  // Messages of libraries, and trace events, belong to the log.
  if (log_file_ >= 0) dup2(log_file_, STDERR_FILENO);
  if (background) CO_TRY(go_to_background(*background));
  co_return Result<>();
}

// Without a file, the log of a background process goes to syslog when standard error does not stay open.
Result<> Daemon::go_to_background(Background& background) {
  const bool is_on_standard_error = log_file_ < 0 && command_line_.log.format != LogFormat::kJournal;
  has_standard_error_ = Background::keeps_standard_error();
  if (is_on_standard_error && !has_standard_error_) {
    log_.redirect(LogDestination::syslog(log_.program_name()));
  }
  return background.release();
}

// Also after a reload, unless the manager has been told of the end already.
void Daemon::announce_service() const {
  if (quit_->is_set()) return;
  const std::size_t count = control_->exports().list().size();
  const bool has_failed = configurator_ != nullptr && configurator_->last_reload_failed();
  notifier_.ready(fmt::format("Serving {} export{}{}", count, count == 1 ? "" : "s",
                              has_failed ? "; the last reload failed and has changed nothing" : ""));
}

// Logs the error; when the log goes elsewhere also writes it to standard error, for the process that started us.
void Daemon::report_failed_start(const std::string& why) {
  log_.error(why);
  if (log_file_ >= 0 || command_line_.log.format == LogFormat::kJournal)
    Log(log_.program_name(), STDERR_FILENO, LogLevel::kError).error(why);
}

aio::Task<void> Daemon::watch_signals(int signal_fd) {
  bool signalled = false;
  for (;;) {
    signalfd_siginfo info{};
    if (::read(signal_fd, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGHUP && configurator_ != nullptr && control_->is_serving() && !signalled) {
        begin_reload();
        continue;
      }
      // A second signal asks for an immediate end, except SIGHUP, which supervisors send after SIGTERM as a matter of
      // course.
      if (signalled && info.ssi_signo != SIGHUP) exit_now();
      signalled = true;
      quit_->set();
      continue;
    }
    auto ready = co_await reactor_->poll(signal_fd, POLLIN);
    if (!ready) co_return;
  }
}

}  // namespace blockexport::daemon
