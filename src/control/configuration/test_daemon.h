// ConfiguredDaemon: for tests: a daemon's control plane with a configuration in a private directory. Not part of the
// daemon.
#pragma once

#include <memory>
#include <string>

#include "aio/testing/backends.h"
#include "configuration/test_files.h"
#include "control/configuration/configurator.h"
#include "control/testing/bare_daemon.h"

namespace blockexport::control::testing {

class ConfiguredDaemon {
 public:
  // The folder outlives it. `@` stands for the folder in commands.
  explicit ConfiguredDaemon(const configuration::testing::ConfigurationFolder& folder, const char* file = "main.toml")
      : folder_(folder), file_(file), daemon_(folder.path("")) {
    configurator_ = std::make_unique<Configurator>(daemon_.control(), folder.path(file));
    daemon_.control().set_configurator(configurator_.get());
  }

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

  const configuration::testing::ConfigurationFolder& folder_;
  const char* file_;
  BareDaemon daemon_;
  std::unique_ptr<Configurator> configurator_;
  std::string differences_;
};

}  // namespace blockexport::control::testing
