// ProcessOptions: the parts of the process that a reload of the section [daemon] changes, and the options that it may
// not change. Given to the Configurator by the daemon.
//
// Plain values and borrowed parts, which outlive the Configurator. Thread: the control reactor.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "base/error.h"
#include "schema/config.h"

namespace blockexport::control {

class MetricsService;

struct ProcessOptions {
  // Null: the process has no metrics, as in tests; then changes of them have no effect.
  MetricsService* metrics = nullptr;
  // Prepares another level and format of the log; the result makes them effective and cannot fail. Empty: a change has
  // no effect. Error: a journal that cannot be reached.
  std::function<Result<std::move_only_function<void()>>(const schema::LogConfiguration&)> prepare_log = {};
  // Called when a reload begins to read the files, and when it has ended, with or without success.
  std::function<void()> reload_begins = {};
  std::function<void()> reload_ended = {};
  // Names of options that the command line has, as "log.level" or "sandbox"; files do not change them.
  std::set<std::string> on_command_line = {};
};

}  // namespace blockexport::control
