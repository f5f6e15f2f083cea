// ConfiguredDaemon: for tests: a daemon's control plane with a configuration in a private directory. Not part of the
// daemon.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "aio/testing/backends.h"
#include "configuration/test_files.h"
#include "control/configuration/configurator.h"
#include "control/metrics/metrics_service.h"
#include "control/testing/bare_daemon.h"

namespace blockexport::control::testing {

class ConfiguredDaemon {
 public:
  // The folder outlives it. `@` stands for the folder in commands.
  explicit ConfiguredDaemon(const configuration::testing::ConfigurationFolder& folder, const char* file = "main.toml")
      : folder_(folder), file_(file), daemon_(folder.path("")) {
    metrics_ = std::make_unique<MetricsService>(daemon_.control());
    configurator_ = std::make_unique<Configurator>(daemon_.control(), folder.path(file), process_options());
    daemon_.control().set_configurator(configurator_.get());
  }
  ~ConfiguredDaemon();

  // Options that the files shall not change, as if the command line had them.
  void put_on_command_line(std::set<std::string> options) {
    given_ = std::move(options);
    configurator_ = std::make_unique<Configurator>(daemon_.control(), folder_.path(file_), process_options());
    daemon_.control().set_configurator(configurator_.get());
  }
  // The log's level and format, as the last reload has set them.
  const std::string& log() const { return log_; }
  MetricsService& metrics() { return *metrics_; }

  BareDaemon& bare() { return daemon_; }
  Control& control() { return daemon_.control(); }
  Configurator& configurator() { return *configurator_; }

  // The error's message, or "".
  std::string start() {
    return daemon_.run(configurator_->start(configuration::read_configuration(folder_.path(file_))));
  }
  std::string reload(ReloadOptions options = {}) {
    differences_.clear();
    return daemon_.run(reload_into(options));
  }
  // Of the last reload: "SECTION.ID ACTION", one a line.
  const std::string& differences() const { return differences_; }

  // The objects that exist with their options, whoever made them, independent of the order in which they were made.
  std::string summary();

 private:
  aio::Task<Result<>> reload_into(ReloadOptions options);
  ProcessOptions process_options();

  const configuration::testing::ConfigurationFolder& folder_;
  const char* file_;
  BareDaemon daemon_;
  std::unique_ptr<MetricsService> metrics_;
  std::set<std::string> given_;
  std::string log_ = "unchanged";
  std::unique_ptr<Configurator> configurator_;
  std::string differences_;
};

}  // namespace blockexport::control::testing
