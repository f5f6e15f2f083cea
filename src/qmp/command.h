// Command: a QMP command whose members were checked; CommandRunner: interface that executes commands.
//
// The protocol layer handles only qmp_capabilities, which concerns a session; all other commands go to the control
// layer's runner. Thread: the control reactor's.
#pragma once

#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "json/value.h"

namespace blockexport::qmp {

struct Command {
  std::string name;
  bool out_of_band = false;                // sent with exec-oob
  std::string_view monitor = {};           // name of its monitor; valid while the command runs
  const json::Value* arguments = nullptr;  // an object, or null without arguments; points into the message
};

// Checks the members of a message and their types. Errors have QSD's texts. `out_of_band_enabled`: the session has
// negotiated the capability "oob", so exec-oob is a known member.
Result<Command> parse_command(const json::Value& message, bool out_of_band_enabled);

// True if a message is out of band. One with both verbs is not: it is an ordinary error.
bool is_out_of_band(const json::Value& message);

class CommandRunner {
 public:
  virtual ~CommandRunner() = default;

  // Looks the command up, decodes its arguments, runs it, and gives its return value ({} when it has none). A session
  // has one command run at a time, beside those of other sessions, whose order the runner decides. An out-of-band
  // command runs concurrently with another one of its session; only commands that are marked for that may.
  virtual aio::Task<Result<json::Value>> run(Command command) = 0;

  // The greeting's version object: {"qemu": {"micro", "minor", "major"}, "package"}.
  virtual json::Value version() const = 0;
};

}  // namespace blockexport::qmp
