// Control: the state that commands work on: the graph, the exports, the NBD servers, chardevs, objects and event queue.
//
// One per daemon, passed to every command handler; the handlers are free functions that the schema declares, in one
// file for each group of commands. Thread: the control reactor. It owns nothing that outlives it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "aio/budget/process_budget.h"
#include "aio/threads/data_reactor.h"
#include "aio/threads/reactor_pool.h"
#include "authz/pam_authorizer.h"
#include "base/intrusive_list.h"
#include "base/log.h"
#include "block/graph.h"
#include "chardev/registry.h"
#include "control/backup/backups.h"
#include "control/core/authorizers.h"
#include "control/core/client_events.h"
#include "control/core/object_store.h"
#include "control/core/secret_lookup.h"
#include "control/core/servers.h"
#include "control/core/tls_directory.h"
#include "export/registry.h"
#include "jobs/job_registry.h"
#include "net/named_sockets.h"
#include "qmp/command.h"
#include "qmp/event_queue.h"

namespace blockexport::control {

// Options of the data reactors, which exist besides the control reactor.
struct DataReactorOptions {
  aio::ReactorOptions each = {};
  std::uint32_t count_max = 1;  // reactors without an object of their own, including the control reactor
};

// Time that a QMP command waits for the other end of a pipe that it opens.
inline constexpr std::uint64_t kPipeWaitNs = 2'000'000'000;

// Emits the events of jobs.
class JobEvents final : public jobs::JobObserver {
 public:
  explicit JobEvents(qmp::EventQueue& events) : events_(events) {}
  void status_changed(const jobs::Job& job) override;

 private:
  qmp::EventQueue& events_;
};

class CommandObserver;
class Configurator;

class Control {
 public:
  // `driver_table` opens block drivers; the command `quit` calls `quit`. Both outlive it.
  Control(aio::Reactor& reactor, DataReactorOptions data_reactors, const Log& log, block::DriverTable& driver_table,
          std::move_only_function<void()> quit);
  ~Control();

  aio::Reactor& reactor() { return reactor_; }
  // The reactors without an object of their own, which serve clients; and the options with which an object makes a
  // reactor.
  aio::ReactorPool& data_reactors() { return data_reactors_; }
  const aio::ReactorOptions& reactor_options() const { return reactor_options_; }
  const Log& log() const { return log_; }
  block::DriverTable& drivers() { return drivers_; }
  block::Graph& graph() { return graph_; }
  exports::Registry& exports() { return exports_; }
  Backups& backups() { return backups_; }
  jobs::JobRegistry& jobs() { return jobs_; }
  chardev::Registry& chardevs() { return chardevs_; }
  ObjectStore& objects() { return objects_; }
  // Lookup of secrets by id, for drivers and jobs.
  SecretLookup& secrets() { return secrets_; }
  // Lookup of authorizers by id, used at each handshake.
  authz::Directory& authorizers() { return authorizers_; }
  // Lookup of TLS credentials by id.
  net::TlsDirectory& tls_credentials() { return tls_credentials_; }
  qmp::EventQueue& events() { return events_; }

  // Records that the export uses these iothreads: the objects cannot be deleted before the export has ended.
  void use_iothreads(const std::string& export_id, std::vector<std::string> iothread_ids);
  // Nullopt for an export that uses none.
  std::optional<std::vector<std::string>> iothreads_of(const std::string& export_id) const;

  // The NBD servers.
  Servers& servers() { return servers_; }
  const Servers& servers() const { return servers_; }
  // The sockets that systemd passed under a name; null without a daemon around it.
  net::NamedSockets* named_sockets() { return named_sockets_; }
  void set_named_sockets(net::NamedSockets& sockets) { named_sockets_ = &sockets; }

  // The events of clients that come and go.
  ClientEvents& client_events() { return client_events_; }
  // The memory budget of all connections.
  const aio::ProcessBudget& budget() const { return budget_; }

  // The configuration of the daemon; null when it has no configuration files, and in tests.
  Configurator* configurator() { return configurator_; }
  void set_configurator(Configurator* configurator) { configurator_ = configurator; }

  // Learns of each command that has succeeded; null: nobody does.
  CommandObserver* command_observer() { return command_observer_; }
  void set_command_observer(CommandObserver* observer) { command_observer_ = observer; }

  // The running calls to PAM.
  authz::PamCalls& pam_calls() { return pam_calls_; }

  // Held by the command that runs exclusively: see control/core/runner.h.
  aio::Mutex& command_mutex() { return command_mutex_; }
  // The id of the monitor whose command runs exclusively now; empty when none does.
  const std::string& commanding_monitor() const { return commanding_monitor_; }
  void set_commanding_monitor(std::string_view id) { commanding_monitor_ = id; }

  // A command that opens something while others run; shut_down() cancels its task. Lives in that task's frame.
  class Opening : public ListLink<Opening> {
   public:
    Opening(Control& control, aio::TaskRoot& task) : control_(control), task_(task) {
      control.openings_.push_back(*this);
    }
    ~Opening() { unlink(); }
    // True if shut_down() has cancelled it.
    bool was_cancelled() const { return task_.cancelled && control_.is_shutting_down(); }
    void cancel() { task_.cancel(); }

   private:
    Control& control_;
    aio::TaskRoot& task_;
  };

  // Removes the monitor of that id and its chardev, after the calling task has continued.
  void remove_monitor_later(const std::string& id, const std::string& chardev_id);

  // Time that clients have to read their last replies when the daemon ends.
  void set_shutdown_grace_ns(std::uint64_t grace_ns);
  // Time limit for the other end of a pipe that is being opened; unlimited on the command line, where a signal ends it.
  std::uint64_t pipe_wait_ns() const { return serving_.is_set() ? kPipeWaitNs : UINT64_MAX; }

  // Begins to serve clients of the NBD server and of monitors, when every option of the command line was executed.
  void serve();
  bool is_serving() const { return serving_.is_set(); }
  // The process has gone, or will go, to the background: it must not use standard input and output.
  void set_daemonized() { daemonized_ = true; }
  // A sentence for errors about missing permissions, which a sandbox of the daemon may cause; empty: there is none.
  void set_denial_note(std::string note) { denial_note_ = std::move(note); }
  const std::string& denial_note() const { return denial_note_; }
  bool is_daemonized() const { return daemonized_; }
  void quit() { quit_(); }
  // Cancels openings, then ends exports, servers, backups, jobs, nodes and all objects except monitors, in this order;
  // acknowledged data are durable. Clients that have not read their replies within the grace are disconnected. The
  // files of the default server's unix sockets stay, unless it never served. A second call meanwhile waits for the same
  // end.
  aio::Task<void> shut_down();
  // After shut_down(), and before destruction: sends the replies of the monitors, and accepts no more commands.
  aio::Task<void> close_monitors();
  // Once shut_down() has begun nothing new is created.
  bool is_shutting_down() const { return shut_down_; }
  // Held by a task that visits the reactor of an iothread by its address, or deletes such an object.
  aio::Mutex& iothread_visits() { return iothread_visits_; }
  // After shut_down(): false while a thread is inside a PAM module that may never return. Then the process must end by
  // _exit(), so that the memory which the module may use stays valid.
  bool can_be_destroyed() const { return can_be_destroyed_; }

 private:
  void export_gone(const std::string& id);
  aio::Task<void> remove_monitor(std::string id, std::string chardev_id);
  aio::Task<void> end_everything();
  aio::Task<void> cut_clients_after_grace();

  aio::Reactor& reactor_;
  const Log& log_;
  std::move_only_function<void()> quit_;
  aio::ReactorOptions reactor_options_;
  aio::DataReactor here_;  // the control reactor, which serves clients too
  aio::ReactorPool data_reactors_;
  aio::ProcessBudget budget_;
  qmp::EventQueue events_;
  aio::Mutex command_mutex_;
  std::string commanding_monitor_;
  IntrusiveList<Opening> openings_;
  block::DriverTable& drivers_;
  block::Graph graph_;
  aio::Event serving_;
  ClientEvents client_events_{events_};
  Servers servers_;  // outlives the exports, which are published there
  exports::Registry exports_;
  Backups backups_;
  JobEvents job_events_{events_};
  jobs::JobRegistry jobs_;
  chardev::Registry chardevs_;
  authz::PamCalls pam_calls_;
  ObjectStore objects_;
  SecretLookup secrets_{objects_};
  Authorizers authorizers_{objects_};
  TlsCredentialObjects tls_credentials_{objects_};
  std::multimap<std::string, std::vector<std::string>> iothreads_in_use_;  // by export id, oldest first
  aio::Scope removals_;
  net::NamedSockets* named_sockets_ = nullptr;
  bool daemonized_ = false;
  std::string denial_note_;
  aio::Event shut_down_done_;
  aio::Mutex iothread_visits_;
  std::uint64_t shutdown_grace_ns_ = 0;
  Configurator* configurator_ = nullptr;
  CommandObserver* command_observer_ = nullptr;
  bool shut_down_ = false;
  bool can_be_destroyed_ = true;
};

}  // namespace blockexport::control
