#include "control/configuration/process_change.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::control {
namespace {

bool changes(const configuration::Differences& differences, std::string_view table) {
  return std::ranges::any_of(differences.live_options, [table](const std::string& option) {
    return option.starts_with(table) && option.substr(table.size()).starts_with('.');
  });
}

}  // namespace

ProcessChange::ProcessChange(const ProcessOptions& process, const configuration::ReadConfiguration& after,
                             const configuration::Differences& differences)
    : process_(process),
      after_(after),
      changes_metrics_(process.metrics != nullptr && changes(differences, "metrics")),
      changes_log_(process.prepare_log != nullptr && changes(differences, "log")) {}

Error ProcessChange::at(std::string_view option, Error error) const {
  const configuration::Place place = after_.places.find({"daemon", std::string(option)});
  return std::move(error).with_prefix(fmt::format("{}: daemon.{}: ", configuration::text_of(place), option));
}

aio::Task<Result<>> ProcessChange::prepare() {
  if (changes_metrics_) {
    auto prepared = co_await process_.metrics->prepare(after_.content.daemon.metrics);
    if (!prepared) co_return fail(at("metrics", std::move(prepared).error()));
    metrics_.emplace(std::move(*prepared));
  }
  if (changes_log_) {
    auto prepared = process_.prepare_log(after_.content.daemon.log.value_or(schema::LogConfiguration{}));
    if (!prepared) co_return fail(at("log", std::move(prepared).error()));
    log_ = std::move(*prepared);
  }
  co_return Result<>();
}

void ProcessChange::commit() {
  if (metrics_) process_.metrics->commit(std::move(*metrics_));
  if (log_) log_();
}

aio::Task<void> ProcessChange::retire() {
  if (metrics_) co_await process_.metrics->retire();
}

}  // namespace blockexport::control
