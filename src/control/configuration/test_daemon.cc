#include "control/configuration/test_daemon.h"

#include <fmt/format.h>

#include <set>

#include "export/nbd/server/nbd_export.h"
#include "json/writer.h"
#include "net/listen.h"
#include "schema/codec.h"

namespace blockexport::control::testing {
namespace {

std::string text_of(const json::Value& value) {
  std::string text;
  json::write(value, text);
  return text;
}

aio::Task<Result<>> close(MetricsService& metrics) {
  co_await metrics.close();
  co_return Result<>();
}

}  // namespace

ConfiguredDaemon::~ConfiguredDaemon() {
  (void)daemon_.run(close(*metrics_));
}

// The format "journal" stands for a journal that cannot be reached.
ProcessOptions ConfiguredDaemon::process_options() {
  auto prepare = [this](const schema::LogConfiguration& log) -> Result<std::move_only_function<void()>> {
    if (log.format == schema::LogFormat::kJournal) return fail("no journal");
    return [this, text = text_of(schema::encode(log))] { log_ = text; };
  };
  return {.metrics = metrics_.get(), .prepare_log = prepare, .on_command_line = given_};
}

aio::Task<Result<>> ConfiguredDaemon::reload_into(ReloadOptions options) {
  CO_TRY_ASSIGN(schema::ConfigReloadResult result, co_await configurator_->reload(options));
  for (const schema::ConfigurationDifference& one : result.differences) {
    differences_ += fmt::format("{}.{} {}\n", one.section, one.id, schema::name_of(one.action));
  }
  co_return Result<>();
}

std::string ConfiguredDaemon::summary() {
  std::set<std::string> lines;
  for (const block::GraphNode& one : control().graph().nodes()) {
    if (one.options.node_name) {
      lines.insert(fmt::format("node {} {}", one.shown_name(), text_of(schema::encode(one.options))));
    }
  }
  for (exports::Export* one : control().exports().list()) {
    const auto* nbd = static_cast<const nbd::NbdExport*>(one);
    const auto& servers = nbd->info().servers;
    lines.insert(fmt::format("export {} node {} name {} description {} writable {} servers {} leaving {}", one->id(),
                             one->node_name(), nbd->info().name, nbd->info().description.value_or("-"),
                             one->is_writable(), servers ? fmt::format("{}", fmt::join(*servers, " ")) : "all",
                             one->shutting_down()));
  }
  for (const auto& object : control().objects().all()) {
    std::string line = fmt::format("object {} {}", object->id(), object->type_name());
    for (const schema::Property& property : object->properties()) {
      if (property.is_secret) continue;
      line += fmt::format(" {}={}", property.name, text_of(object->get(property.name)));
    }
    lines.insert(std::move(line));
  }
  for (const auto& [id, server] : control().servers().all()) {
    std::set<std::string> addresses;
    for (const net::Listener* listener : server->listeners()) addresses.insert(net::describe(listener->address()));
    const nbd::ServerOptions& options = server->state().options;
    lines.insert(fmt::format("server {} {} connections {} read-only {}", id, fmt::join(addresses, " "),
                             options.max_connections, options.view.read_only));
  }
  for (const auto& chardev : control().chardevs().all()) lines.insert("chardev " + chardev->label());
  for (const std::string& address : metrics_->addresses()) lines.insert("metrics " + address);
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

}  // namespace blockexport::control::testing
