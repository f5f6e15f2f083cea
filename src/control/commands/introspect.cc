// Commands query-version, query-commands, query-qmp-schema, qmp_capabilities, quit and x-debug-tasks.

#include <fmt/format.h>

#include "control/core/control.h"
#include "control/core/named_reactors.h"
#include "control/core/version.h"
#include "json/parser.h"
#include "schema/codec.h"
#include "schema/command_table.h"
#include "schema/control_commands.h"
#include "schema/debug_commands.h"
#include "schema/introspect_commands.h"
#include "schema/introspection.h"

namespace blockexport::control {

aio::Task<Result<>> qmp_capabilities(Control&, schema::QmpCapabilitiesArguments) {
  // A monitor's session answers this command itself (qmp/session.h); here it comes from another caller.
  co_return fail("Capabilities are negotiated by a monitor's client");
}

schema::VersionInfo version_info() {
  return {.qemu = {.major = kCompatibleMajor, .minor = kCompatibleMinor, .micro = kCompatibleMicro},
          .package = fmt::format("blockexportd {}", kProgramVersion)};
}

aio::Task<Result<schema::VersionInfo>> query_version(Control&) {
  co_return version_info();
}

aio::Task<Result<std::vector<schema::CommandInfo>>> query_commands(Control&) {
  std::vector<schema::CommandInfo> commands;
  for (const schema::CommandEntry& entry : schema::command_table())
    commands.push_back({.name = std::string(entry.name)});
  co_return commands;
}

aio::Task<Result<json::Value>> query_qmp_schema(Control&, const json::Value* arguments) {
  CO_TRY(schema::check_no_arguments(arguments));
  co_return json::parse(schema::introspection_text());
}

aio::Task<Result<>> quit(Control& control) {
  // Sends the events of all objects that end before the reply.
  co_await control.shut_down();
  control.quit();
  co_return Result<>{};
}

namespace {

// Runs on the reactor itself.
aio::Task<void> list_tasks(aio::Reactor& reactor, std::string name, std::vector<schema::DebugTask>& tasks) {
  for (const aio::TaskRoot& root : reactor.tasks()) {
    std::string_view file = root.where.file_name();
    tasks.push_back({.name = root.name,
                     .where = fmt::format("{}:{}", file.substr(file.rfind('/') + 1), root.where.line()),
                     .reactor = name,
                     .waiting = root.waiting != nullptr,
                     .cancelled = root.cancelled});
  }
  co_return;
}

}  // namespace

aio::Task<Result<std::vector<schema::DebugTask>>> x_debug_tasks(Control& control) {
  // The command runs beside others, which must not delete an iothread while this one visits its reactor.
  auto visits = co_await control.iothread_visits().lock();
  if (!visits) co_return fail("The command was cancelled");
  const std::vector<NamedReactor> reactors = named_reactors(control);
  std::vector<schema::DebugTask> tasks;
  for (const NamedReactor& one : reactors) {
    aio::Task<void> listing = list_tasks(one.data_reactor->reactor, one.name, tasks);
    co_await aio::run_on(*one.data_reactor, "x-debug-tasks", std::move(listing));
  }
  co_return tasks;
}

}  // namespace blockexport::control
