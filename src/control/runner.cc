#include "control/runner.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/time_limit.h"
#include "control/version.h"
#include "schema/codec.h"
#include "schema/command_table.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// Commands that open what a path, a name or an address leads to, where nobody may answer. All others wait for what
// this process does, and for the storage that it has open.
constexpr std::string_view kOpeningCommands[] = {"blockdev-add", "blockdev-reopen", "chardev-add", "nbd-server-start",
                                                 "object-add"};

bool opens_things(std::string_view command) {
  return std::ranges::find(kOpeningCommands, command) != std::end(kOpeningCommands);
}

aio::Task<void> run_into(Control& control, const schema::CommandEntry& entry, const json::Value* arguments,
                         Result<json::Value>& result) {
  result = co_await entry.run(control, arguments);
}

}  // namespace

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
  Result<json::Value> result = opens_things(command.name) ? co_await run_within_limit(*entry, command.arguments)
                                                          : co_await entry->run(control_, command.arguments);
  if (!command.out_of_band) control_.set_commanding_monitor({});
  trace.note(TraceEvent::kQmpCommandEnd,
             {command.name, " ", result ? "ok" : std::string_view(result.error().message())});
  co_return result;
}

// While a command runs no other does, of any monitor.
aio::Task<Result<json::Value>> Runner::run_within_limit(const schema::CommandEntry& entry,
                                                        const json::Value* arguments) {
  Result<json::Value> result = json::Value();
  const std::uint64_t deadline_ns = aio::deadline_after(control_.reactor(), kOpeningMaxNs);
  aio::Task<void> running = run_into(control_, entry, arguments, result);
  const bool is_late = co_await aio::run_within(control_.reactor(), "qmp command", deadline_ns, std::move(running));
  if (!is_late || result) co_return result;
  co_return fail(std::move(result).error().with_prefix(
      fmt::format("{} was given up after {} s: ", entry.name, kOpeningMaxNs / kNanosecondsPerSecond)));
}

json::Value Runner::version() const {
  return schema::encode(version_info());
}

}  // namespace blockexport::control
