#include "control/runner.h"

#include <fmt/format.h>

#include "control/version.h"
#include "schema/codec.h"
#include "schema/command_table.h"

namespace blockexport::control {

aio::Task<Result<json::Value>> Runner::run(qmp::Command command) {
  const schema::CommandEntry* entry = schema::find_command(schema::command_table(), command.name);
  if (entry == nullptr) {
    co_return fail(Error(ErrorKind::kCommandNotFound, fmt::format("The command {} has not been found", command.name)));
  }
  if (command.out_of_band && !entry->allow_oob) {
    co_return fail(fmt::format("The command {} does not support OOB", command.name));
  }
  // While everything ends, nothing is begun; who asks is answered, and asking for the end again waits for it.
  if (control_.is_shutting_down() && !command.name.starts_with("query-") && command.name != "quit" &&
      !entry->allow_oob) {
    co_return fail("The daemon is shutting down");
  }
  const Trace& trace = control_.log().trace();
  trace.note(TraceEvent::kQmpCommandBegin, {command.name});
  // One that is out of band runs beside another, whose monitor it is then.
  if (!command.out_of_band) control_.set_commanding_monitor(command.monitor);
  Result<json::Value> result = co_await entry->run(control_, command.arguments);
  if (!command.out_of_band) control_.set_commanding_monitor({});
  trace.note(TraceEvent::kQmpCommandEnd,
             {command.name, " ", result ? "ok" : std::string_view(result.error().message())});
  co_return result;
}

json::Value Runner::version() const {
  return schema::encode(version_info());
}

}  // namespace blockexport::control
