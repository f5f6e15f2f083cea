#include "base/log_line.h"

#include "base/printable.h"

namespace blockexport {
namespace {

std::string_view level_prefix(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "";
    case LogLevel::kWarning:
      return "warning: ";
    case LogLevel::kInfo:
      return "info: ";
    case LogLevel::kDebug:
      return "debug: ";
  }
  __builtin_unreachable();
}

}  // namespace

std::string log_line(std::string_view program_name, LogLevel level, std::string_view location,
                     std::string_view message) {
  std::string line(program_name);
  append_printable(line, location, true);
  line += level_prefix(level);
  append_printable(line, message, true);
  line += '\n';
  return line;
}

}  // namespace blockexport
