// Log: one line to standard error for a person, prefixed with the program's name as the command line's users expect:
// "blockexportd: warning: ...". One Log object, made by main() and passed down by reference; no global.
//
// Text that came from a peer is made printable before it is written: control bytes become \xNN.
// Thread: any; each line is one write(2).
#pragma once

#include <string>
#include <string_view>

namespace blockexport {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

class Log {
 public:
  // Lines above `threshold` are dropped. `fd` is borrowed.
  Log(std::string program_name, int fd, LogLevel threshold);

  void error(std::string_view message) const { write(LogLevel::kError, message); }
  void warning(std::string_view message) const { write(LogLevel::kWarning, message); }
  void info(std::string_view message) const { write(LogLevel::kInfo, message); }
  void debug(std::string_view message) const { write(LogLevel::kDebug, message); }

  bool enabled(LogLevel level) const { return level <= threshold_; }
  const std::string& program_name() const { return program_name_; }

 private:
  void write(LogLevel level, std::string_view message) const;

  std::string program_name_;
  int fd_;
  LogLevel threshold_;
};

// `text` with control bytes and invalid bytes written as \xNN, cut to `limit` bytes plus "...".
std::string printable(std::string_view text, std::size_t limit = 80);

}  // namespace blockexport
