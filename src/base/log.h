// Log: one line to standard error for a person, prefixed with the program's name as the command line's users expect:
// "blockexportd: warning: ...". One Log object, made by main() and passed down by reference; no global.
//
// Text that came from a peer is made printable before it is written: control bytes become \xNN.
// Thread: any; each line is one write(2).
#pragma once

#include <string>
#include <string_view>

#include "base/trace.h"

namespace blockexport {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

class Log {
 public:
  // Lines above `threshold` are dropped. `fd` is borrowed.
  Log(std::string program_name, int fd, LogLevel threshold);
  // With trace events; `trace` outlives it.
  Log(std::string program_name, int fd, LogLevel threshold, const Trace& trace);

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

 private:
  void write(LogLevel level, std::string_view place, std::string_view message) const;

  std::string program_name_;
  int fd_;
  LogLevel threshold_;
  const Trace* trace_;
};

// `text` with control bytes and invalid bytes written as \xNN, cut to `limit` bytes plus "...".
std::string printable(std::string_view text, std::size_t limit = 80);

}  // namespace blockexport
