// ProcessChange: the change of the section [daemon] in a reload: addresses of metrics, and the log.
//
// prepare() binds and opens; commit() cannot fail; retire() closes former addresses. Owned by a Reload; thread: the
// control reactor.
#pragma once

#include <functional>
#include <optional>

#include "configuration/difference.h"
#include "control/configuration/process_options.h"
#include "control/metrics/metrics_service.h"

namespace blockexport::control {

class ProcessChange {
 public:
  // All references outlive it. Only options that differ are changed.
  ProcessChange(const ProcessOptions& process, const configuration::ReadConfiguration& after,
                const configuration::Differences& differences);

  // Errors name the place in the files.
  aio::Task<Result<>> prepare();
  void commit();
  aio::Task<void> retire();

 private:
  Error at(std::string_view option, Error error) const;

  const ProcessOptions& process_;
  const configuration::ReadConfiguration& after_;
  const bool changes_metrics_;
  const bool changes_log_;
  std::optional<MetricsService::Prepared> metrics_;
  std::move_only_function<void()> log_;
};

}  // namespace blockexport::control
