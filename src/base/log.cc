#include "base/log.h"

#include <utility>

#include "base/log_episodes.h"

namespace blockexport {
namespace {

const Trace kNothingTraced;

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

void append_printable(std::string& out, std::string_view text, bool keep_newlines) {
  constexpr char kHex[] = "0123456789abcdef";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    bool control = byte < 0x20 || byte == 0x7f;
    if (!control || (keep_newlines && c == '\n')) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
}

}  // namespace

Log::Log(std::string program_name, int fd, LogLevel threshold)
    : program_name_(std::move(program_name)),
      threshold_(threshold),
      own_channel_(std::make_unique<LogChannel>(fd, program_name_ + ": warning: ")),
      channel_(own_channel_.get()),
      trace_(&kNothingTraced),
      episodes_(std::make_shared<LogEpisodes>(program_name_, threshold)) {
  channel_->set_timed_lines(episodes_);
}

Log::Log(std::string program_name, LogChannel& channel, LogLevel threshold, const Trace& trace)
    : program_name_(std::move(program_name)),
      threshold_(threshold),
      channel_(&channel),
      trace_(&trace),
      episodes_(std::make_shared<LogEpisodes>(program_name_, threshold)) {
  channel_->set_timed_lines(episodes_);
}

Log::~Log() = default;

void Log::warning_in_option(std::string_view option, std::string_view message) const {
  write(LogLevel::kWarning, ": " + std::string(option) + ": ", message);
}

void Log::warning_in_file(std::string_view place, std::string_view message) const {
  write(LogLevel::kWarning, ":" + std::string(place) + ": ", message);
}

void Log::error_in_file(std::string_view place, std::string_view message) const {
  write(LogLevel::kError, ":" + std::string(place) + ": ", message);
}

void Log::write(LogLevel level, std::string_view place, std::string_view message) const {
  if (enabled(level)) channel_->write(log_line(program_name_, level, place, message));
}

void Log::write_line(const ConditionSchedule::Line& line) const {
  if (!line.text.empty()) {
    write(line.level, ": ", line.text);
  } else {
    due_time_changed();
  }
}

void Log::flush() const {
  (void)channel_->flush();
  trace_->flush();
}

std::string log_line(std::string_view program_name, LogLevel level, std::string_view place, std::string_view message) {
  std::string line(program_name);
  append_printable(line, place, true);
  line += level_prefix(level);
  append_printable(line, message, true);
  line += '\n';
  return line;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  append_printable(out, text.substr(0, limit), false);
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace blockexport
