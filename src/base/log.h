// Log: records for a person or a collector of logs. As text they are prefixed with the program's name as the command
// line's users expect: "blockexportd: warning: ..."; docs/log.md describes the other formats and the fields. One Log
// object, made by main() and passed down by reference; no global.
//
// Control bytes in a text are written as \xNN. Lines that a peer can cause go through a PeerLog (base/peer_log.h), and
// recurring failures of one cause through a LastingCondition (base/lasting_condition.h). Thread: any; no call waits
// once the channel was started.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/condition_schedule.h"
#include "base/log_channel.h"
#include "base/log_level.h"
#include "base/trace.h"

namespace blockexport {

class LogEpisodes;

class Log {
 public:
  // Lines above `threshold` are dropped. `fd` is borrowed; the calling thread writes text to it.
  Log(std::string program_name, int fd, LogLevel threshold);
  // With trace events. `channel` and `trace` outlive it.
  Log(std::string program_name, LogChannel& channel, LogLevel threshold, const Trace& trace);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // `fields`: structured values of the record (docs/log.md).
  using Fields = std::span<const LogField>;
  void error(std::string_view message) const { write(LogLevel::kError, ": ", message); }
  void warning(std::string_view message, Fields fields = {}) const { write(LogLevel::kWarning, ": ", message, fields); }
  void info(std::string_view message, Fields fields = {}) const { write(LogLevel::kInfo, ": ", message, fields); }
  void debug(std::string_view message) const { write(LogLevel::kDebug, ": ", message); }

  // The same for a fault in a file or in an option of the command line: "PROGRAM: --trace x: warning: ..." and, with a
  // file and its line as `location`, "PROGRAM:FILE:LINE: warning: ...".
  void warning_in_option(std::string_view option, std::string_view message) const;
  void warning_in_file(std::string_view location, std::string_view message) const;
  void error_in_file(std::string_view location, std::string_view message) const;

  // The trace events; all are off when the constructor was given no Trace.
  const Trace& trace() const { return *trace_; }

  // The lines that are written; it can be changed at any time.
  LogSelection& selection() const { return *selection_; }
  bool enabled(LogLevel level) const { return selection_->enabled(level); }
  const std::string& program_name() const { return program_name_; }
  // Further records go to `destination`.
  void redirect(LogDestination destination) const { channel_->redirect(std::move(destination)); }
  // Waits until all earlier lines are written, those of the trace too, at most kLogFlushNs for each.
  void flush() const;

 private:
  friend class LastingCondition;
  friend class PeerLog;

  void write(LogLevel level, std::string_view location, std::string_view message, Fields fields = {}) const;
  // Writes nothing when the line is empty.
  void write_line(const ConditionSchedule::Line& line, Fields fields) const;
  void due_time_changed() const { channel_->due_time_changed(); }
  LogEpisodes& episodes() const { return *episodes_; }

  const std::string program_name_;
  const std::shared_ptr<LogSelection> selection_;
  const std::unique_ptr<LogChannel> own_channel_;
  LogChannel* const channel_;
  const Trace* const trace_;
  const std::shared_ptr<LogEpisodes> episodes_;
};

}  // namespace blockexport
