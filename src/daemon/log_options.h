// LogOptions: destination, format and level of the log, from the command line. Plain values; main thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/log_destination.h"
#include "base/log_level.h"

namespace blockexport::daemon {

struct LogOptions {
  std::optional<std::string> file;  // nothing: standard error
  std::optional<LogLevel> level;    // nothing: info, without lines about single clients
  std::optional<LogFormat> format;  // nothing: auto
};

// The value of --log-level, or of --log-format; the error names the words.
Result<> take_log_level(LogOptions& options, std::string_view word);
Result<> take_log_format(LogOptions& options, std::string_view word);

// True if standard error is a stream of systemd's journal, as the environment variable JOURNAL_STREAM says
// (systemd.exec(5)).
bool standard_error_is_journal();

// The destination for these options; `file` is the opened log file (borrowed), -1 without one. With the format auto the
// journal gets native records where standard error is its stream, and otherwise the descriptor gets text. Errors: the
// options contradict each other, no journal can be reached.
Result<LogDestination> choose_log_destination(const LogOptions& options, int file);

}  // namespace blockexport::daemon
