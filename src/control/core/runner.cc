#include "control/core/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "aio/sync/with_deadline.h"
#include "aio/task/current.h"
#include "base/similar_text.h"
#include "control/core/command_observer.h"
#include "control/core/denial_note.h"
#include "control/core/version.h"
#include "schema/codec.h"
#include "schema/command_table.h"
#include "schema/elsewhere.h"

namespace blockexport::control {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// Commands that open a path, a name or an address, which may never respond. All other commands wait only for this
// process and for storage that is already open.
constexpr std::string_view kOpeningCommands[] = {"backup-begin",  "blockdev-add",     "blockdev-reopen", "chardev-add",
                                                 "config-reload", "nbd-server-start", "nbd-servers-add", "object-add"};

// Commands that are one change of the graph and nothing else, which may take long: a new size of an image with large
// tables, the last flush of a node, and a snapshot inside a large image. Changes of the graph wait for each other by
// themselves.
constexpr std::string_view kGraphCommands[] = {"block_resize", "blockdev-del", "blockdev-snapshot-delete-internal-sync",
                                               "blockdev-snapshot-internal-sync", "change-backing-file"};

bool opens_things(std::string_view command) {
  return std::ranges::find(kOpeningCommands, command) != std::end(kOpeningCommands);
}

bool changes_graph(std::string_view command) {
  return std::ranges::find(kGraphCommands, command) != std::end(kGraphCommands);
}

// The reply has qemu-storage-daemon's form, without a hint, so the hint goes to the trace of commands.
Error no_such_command(const std::string& name) {
  std::vector<std::string_view> known;
  for (const schema::CommandEntry& entry : schema::command_table()) known.push_back(entry.name);
  std::string hint = schema::elsewhere_note(schema::ElsewhereSort::kCommand, "", name);
  if (hint.empty()) hint = suggest_similar(name, known);
  return Error(ErrorKind::kCommandNotFound, fmt::format("The command {} has not been found", name))
      .with_hint(std::move(hint));
}

void trace_error(const Trace& trace, std::string_view command, const Error& error) {
  const bool has_hint = !error.hint().empty();
  trace.note(TraceEvent::kQmpCommandEnd, {command, " ", error.message(), has_hint ? " Hint: " : "", error.hint()});
}

}  // namespace

aio::Task<Result<json::Value>> Runner::run(qmp::Command command) {
  const schema::CommandEntry* entry = schema::find_command(schema::command_table(), command.name);
  if (entry == nullptr) {
    Error error = no_such_command(command.name);
    trace_error(control_.log().trace(), command.name, error);
    co_return fail(std::move(error));
  }
  if (command.out_of_band && !entry->allow_oob) {
    co_return fail(fmt::format("The command {} does not support OOB", command.name));
  }
  std::optional<aio::Mutex::Guard> turn;
  if (!command.out_of_band) {
    auto taken = co_await control_.command_mutex().lock();
    if (!taken) co_return fail("The monitor is being closed");
    turn.emplace(std::move(*taken));
  }
  // During the shutdown no command begins, except queries, and `quit`, which waits for the end.
  if (control_.is_shutting_down() && !command.name.starts_with("query-") && command.name != "quit" &&
      !entry->allow_oob) {
    co_return fail("The daemon is shutting down");
  }
  const Trace& trace = control_.log().trace();
  trace.note(TraceEvent::kQmpCommandBegin, {command.name});
  Result<json::Value> result = json::Value();
  if (opens_things(command.name)) {
    // The command has waited for earlier ones.
    turn.reset();
    result = co_await run_beside_others(*entry, command.arguments);
  } else if (command.out_of_band || changes_graph(command.name)) {
    turn.reset();
    result = co_await entry->run(control_, command.arguments);
  } else {
    result = co_await run_alone(*entry, command);
  }
  if (result) {
    // Other commands do not wait for the observer.
    turn.reset();
    CommandObserver* observer = control_.command_observer();
    if (observer != nullptr) co_await observer->command_succeeded(command.name, command.arguments);
    trace.note(TraceEvent::kQmpCommandEnd, {command.name, " ok"});
  } else {
    result = fail(with_denial_note(std::move(result).error(), control_.denial_note()));
    trace_error(trace, command.name, result.error());
  }
  co_return result;
}

aio::Task<Result<json::Value>> Runner::run_alone(const schema::CommandEntry& entry, const qmp::Command& command) {
  control_.set_commanding_monitor(command.monitor);
  Result<json::Value> result = co_await entry.run(control_, command.arguments);
  control_.set_commanding_monitor({});
  co_return result;
}

aio::Task<Result<json::Value>> Runner::run_beside_others(const schema::CommandEntry& entry,
                                                         const json::Value* arguments) {
  const std::uint64_t deadline_ns = aio::deadline_after(control_.reactor(), kOpeningMaxNs);
  aio::Task<Result<json::Value>> running = open(entry, arguments);
  auto [result, is_late] = co_await aio::with_deadline("qmp opening", deadline_ns, std::move(running));
  if (!is_late || result) co_return std::move(result);
  co_return fail(std::move(result).error().with_prefix(
      fmt::format("{} timed out after {} s: ", entry.name, kOpeningMaxNs / kNanosecondsPerSecond)));
}

aio::Task<Result<json::Value>> Runner::open(const schema::CommandEntry& entry, const json::Value* arguments) {
  const Control::Opening opening(control_, co_await aio::current_task());
  Result<json::Value> result = co_await entry.run(control_, arguments);
  if (result || !opening.was_cancelled()) co_return result;
  co_return fail(std::move(result).error().with_prefix(
      fmt::format("{} was cancelled, because the daemon is shutting down: ", entry.name)));
}

json::Value Runner::version() const {
  return schema::encode(version_info());
}

}  // namespace blockexport::control
