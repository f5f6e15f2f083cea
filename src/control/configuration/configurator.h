// Configurator: the configuration of the daemon: what its files said when they took effect last, and its reloads.
//
// It owns nothing of what files define; each such object is marked with its origin. A reload touches only objects of
// that origin; one that commands have removed or changed drifts, and the next reload makes it anew. Reloads wait for
// each other. Owned by the daemon; thread: the control reactor.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "aio/sync/sync.h"
#include "configuration/check.h"
#include "configuration/difference.h"
#include "control/configuration/process_options.h"
#include "control/core/control.h"
#include "schema/config.h"

namespace blockexport::control {

// Time of a reload, as that of a QMP command that opens something.
inline constexpr std::uint64_t kReloadMaxNs = 30'000'000'000;

struct ReloadOptions {
  bool is_dry_run = false;
  bool is_disruptive = false;  // replaces exports that have clients
};

class RuntimeKeeper;

class Configurator {
 public:
  using Section = configuration::Section;

  // `path`: absolute path of the main file.
  Configurator(Control& control, std::string path, ProcessOptions process = {});

  // Marks everything that exists now as made by the command line.
  void mark_command_line();
  // The objects that files have not made.
  configuration::Surroundings surroundings() const;

  // Applies the first configuration, which was read and not checked yet. Errors as those of reload().
  aio::Task<Result<>> start(configuration::ReadConfiguration read);
  // Reads the files again and applies them. Logs the outcome, unless it is a dry run. Errors: those of the files, one a
  // line; an object that cannot be made; then nothing has changed. A cancellation ends the preparation.
  aio::Task<Result<schema::ConfigReloadResult>> reload(ReloadOptions options);

  schema::ConfigurationInfo info() const;
  // `runtime` keeps the things that QMP commands have made; it outlives the Configurator, or the process ends.
  void set_runtime(const RuntimeKeeper& runtime) { runtime_ = &runtime; }
  // "FILE:LINE:COLUMN" of an object of the configuration in effect; empty when it has none of that ID.
  std::string place_of(Section section, const std::string& id) const;
  bool last_reload_failed() const { return last_error_.has_value(); }

 private:
  aio::Task<Result<schema::ConfigReloadResult>> reload_now(ReloadOptions options);
  aio::Task<Result<configuration::ReadConfiguration>> read() const;
  aio::Task<Result<>> apply(configuration::ReadConfiguration& read, const configuration::Differences& differences,
                            bool is_disruptive);
  configuration::Differences compare(const schema::Configuration& wanted, bool reopens) const;
  void adopt(configuration::ReadConfiguration read, const configuration::Differences& differences);
  // What the daemon still has of the configuration in effect.
  schema::Configuration present() const;
  // The difference between an object and its file; nullopt without one.
  std::optional<std::string> drift_of(Section section, const std::string& id) const;
  std::optional<std::string> drift_of_object(const std::string& id) const;
  std::optional<std::string> drift_of_node(const std::string& name, const schema::BlockdevOptions& options) const;
  std::optional<std::string> drift_of_export(const std::string& id) const;
  std::vector<schema::ConfigurationDifference> described(const configuration::Differences& differences) const;
  void note_properties();
  void add_objects(std::vector<schema::ConfiguredObject>& list) const;
  void add_object(std::vector<schema::ConfiguredObject>& list, Section section, const std::string& id,
                  Origin origin) const;
  void add_process_options(std::vector<schema::ConfiguredObject>& list) const;
  // Options of the command line have priority over those of files.
  void drop_options_of_command_line(configuration::Differences& differences) const;
  void warn_of_restart(const schema::ConfigReloadResult& result) const;
  void add_missing(std::vector<schema::ConfiguredObject>& list) const;

  Control& control_;
  const std::string path_;
  const ProcessOptions process_;
  aio::Mutex mutex_;
  configuration::ReadConfiguration current_;  // as in the files
  schema::Configuration in_effect_;           // without the changes that need a restart
  std::vector<std::string> restart_options_;
  std::map<std::string, json::Value> properties_;  // of each object of the files, as it was made
  std::uint32_t reloads_ = 0;
  std::uint32_t failed_reloads_ = 0;
  std::optional<std::string> last_error_;
  const RuntimeKeeper* runtime_ = nullptr;
};

}  // namespace blockexport::control
