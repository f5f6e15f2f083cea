// Command: one QMP message from a client, checked for its outer form; and CommandRunner, who knows the commands.
//
// The protocol layer knows no command but qmp_capabilities, which belongs to a session; all others go to the runner
// that the control layer provides. Thread: the control reactor.
#pragma once

#include <string>
#include <string_view>

#include "aio/task.h"
#include "base/error.h"
#include "json/value.h"

namespace blockexport::qmp {

struct Command {
  std::string name;
  bool out_of_band = false;                // sent with exec-oob
  std::string_view monitor = {};           // over which it came; lives as long as the command runs
  const json::Value* arguments = nullptr;  // an object, or null when there was none; points into the message
};

// The outer form of a message: which members it has, and of what type. Errors carry the texts that QMP clients know.
// `out_of_band_enabled`: the session negotiated the capability, so exec-oob is a known member.
Result<Command> parse_command(const json::Value& message, bool out_of_band_enabled);

// Whether a message asks to overtake others. What is said with both verbs does not: it is a mistake like any other.
bool is_out_of_band(const json::Value& message);

class CommandRunner {
 public:
  virtual ~CommandRunner() = default;

  // Looks the command up, decodes its arguments, runs it, gives its return value ({} when it has none). One that is
  // out of band runs beside another: only commands that are marked for that may.
  virtual aio::Task<Result<json::Value>> run(Command command) = 0;

  // The greeting's version object: {"qemu": {"micro", "minor", "major"}, "package"}.
  virtual json::Value version() const = 0;
};

}  // namespace blockexport::qmp
