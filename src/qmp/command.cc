#include "qmp/command.h"

#include <fmt/format.h>

namespace blockexport::qmp {

Result<Command> parse_command(const json::Value& message, bool out_of_band_enabled) {
  const json::Object* object = message.as_object();
  if (object == nullptr) return fail("QMP input must be a JSON object");
  Command command;
  std::string_view verb;
  for (const auto& [name, value] : *object) {
    if (name == "execute" || (name == "exec-oob" && out_of_band_enabled)) {
      const std::string* command_name = value.as_string();
      if (command_name == nullptr) return fail(fmt::format("QMP input member '{}' must be a string", name));
      if (!verb.empty()) return fail(fmt::format("QMP input member '{}' clashes with '{}'", name, verb));
      verb = name;
      command.name = *command_name;
      command.out_of_band = name == "exec-oob";
    } else if (name == "arguments") {
      if (value.as_object() == nullptr) return fail("QMP input member 'arguments' must be an object");
      command.arguments = &value;
    } else if (name != "id") {
      return fail(fmt::format("QMP input member '{}' is unexpected", name));
    }
  }
  if (verb.empty()) return fail("QMP input lacks member 'execute'");
  return command;
}

bool is_out_of_band(const json::Value& message) {
  const json::Object* object = message.as_object();
  return object != nullptr && object->find("exec-oob") != nullptr && object->find("execute") == nullptr;
}

}  // namespace blockexport::qmp
