// LogRecord: one entry of the log with its structured fields, before it has a format. Plain values that refer to the
// caller's texts; thread: any.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/log_level.h"

namespace blockexport {

// One named value of a record; docs/log.md lists the names. Formats for people do not show it.
struct LogField {
  std::string_view name;  // lower case, words joined by '_'
  std::string_view value;
  bool is_number = false;  // `value` is a decimal integer
};

struct LogRecord {
  LogLevel level = LogLevel::kError;
  std::string_view program = {};
  // Text between the program's name and the level's: ": ", or the faulty option or file, as in ":FILE:LINE: ".
  std::string_view location = ": ";
  std::string_view message = {};
  std::span<const LogField> fields = {};
  bool is_trace = false;  // an event of --trace: its line is the message alone
};

}  // namespace blockexport
