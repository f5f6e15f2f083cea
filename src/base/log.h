// Log: one line to standard error for a person, prefixed with the program's name as the command line's users expect:
// "blockexportd: warning: ...". One Log object, made by main() and passed down by reference; no global.
//
// Text that came from a peer is made printable before it is written: control bytes become \xNN. What a peer can cause
// goes through a PeerLog (base/peer_log.h), what comes back for as long as its cause lasts through a LastingCondition
// (base/lasting_condition.h). Thread: any; it waits for nothing once its channel was started.
#pragma once

#include <memory>
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
  // Lines above `threshold` are dropped. `fd` is borrowed, and written to by whoever has a line.
  Log(std::string program_name, int fd, LogLevel threshold);
  // With trace events. `channel` and `trace` outlive it.
  Log(std::string program_name, LogChannel& channel, LogLevel threshold, const Trace& trace);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void error(std::string_view message) const { write(LogLevel::kError, ": ", message); }
  void warning(std::string_view message) const { write(LogLevel::kWarning, ": ", message); }
  void info(std::string_view message) const { write(LogLevel::kInfo, ": ", message); }
  void debug(std::string_view message) const { write(LogLevel::kDebug, ": ", message); }

  // The same for what stands in a file or an option of the command line: "PROGRAM: --trace x: warning: ..." and, with
  // a file and its line as `place`, "PROGRAM:FILE:LINE: warning: ...".
  void warning_in_option(std::string_view option, std::string_view message) const;
  void warning_in_file(std::string_view place, std::string_view message) const;
  void error_in_file(std::string_view place, std::string_view message) const;

  // What is traced besides; everything is off where none was given.
  const Trace& trace() const { return *trace_; }

  bool enabled(LogLevel level) const { return level <= threshold_; }
  const std::string& program_name() const { return program_name_; }
  // Waits until what was said before is written, traces too, at most kLogFlushNs for each.
  void flush() const;

 private:
  friend class LastingCondition;
  friend class PeerLog;

  void write(LogLevel level, std::string_view place, std::string_view message) const;
  // An empty line is none.
  void write_line(const ConditionSchedule::Line& line) const;
  void due_time_changed() const { channel_->due_time_changed(); }
  LogEpisodes& episodes() const { return *episodes_; }

  const std::string program_name_;
  const LogLevel threshold_;
  const std::unique_ptr<LogChannel> own_channel_;
  LogChannel* const channel_;
  const Trace* const trace_;
  const std::shared_ptr<LogEpisodes> episodes_;
};

}  // namespace blockexport
