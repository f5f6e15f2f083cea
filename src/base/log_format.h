// LogFormat: the forms in which a log is written, and the encoding of a record in each. Thread: any.
//
// Text and JSON are lines. Records for the journal and for syslog are frames of a length (4 bytes, of this machine) and
// a payload; LogDestination sends the payloads.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/log_record.h"

namespace blockexport {

enum class LogFormat {
  kText,     // "PROGRAM: warning: MESSAGE"; control bytes as \xNN
  kJson,     // one object per line: time, level, message, and the fields
  kJournal,  // the native protocol of systemd-journald
  kSyslog,   // one message per line of the text, for syslog(3)
};

// True if records are lines, which one descriptor takes.
constexpr bool is_line_format(LogFormat format) {
  return format == LogFormat::kText || format == LogFormat::kJson;
}

// Appends the encoded record to `out`. `wall_us`: the time of the record, in microseconds since 1970.
void append_log_record(LogFormat format, const LogRecord& record, std::int64_t wall_us, std::string& out);

// The priority of syslog(3) and of the journal for a level.
int syslog_priority(LogLevel level);

// Removes the first frame of `frames` and returns its payload; nothing when there is none.
std::optional<std::string_view> take_log_frame(std::string_view& frames);

}  // namespace blockexport
