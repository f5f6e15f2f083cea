#include "base/log.h"

#include <utility>

#include "base/log_episodes.h"

namespace blockexport {
namespace {

const Trace kNothingTraced;

}  // namespace

Log::Log(std::string program_name, int fd, LogLevel threshold)
    : program_name_(std::move(program_name)),
      selection_(std::make_shared<LogSelection>(threshold)),
      own_channel_(std::make_unique<LogChannel>(fd, program_name_ + ": warning: ")),
      channel_(own_channel_.get()),
      trace_(&kNothingTraced),
      episodes_(std::make_shared<LogEpisodes>(program_name_, selection_)) {
  channel_->set_timed_lines(episodes_);
}

Log::Log(std::string program_name, LogChannel& channel, LogLevel threshold, const Trace& trace)
    : program_name_(std::move(program_name)),
      selection_(std::make_shared<LogSelection>(threshold)),
      channel_(&channel),
      trace_(&trace),
      episodes_(std::make_shared<LogEpisodes>(program_name_, selection_)) {
  channel_->set_timed_lines(episodes_);
}

Log::~Log() = default;

void Log::warning_in_option(std::string_view option, std::string_view message) const {
  write(LogLevel::kWarning, ": " + std::string(option) + ": ", message);
}

void Log::warning_in_file(std::string_view location, std::string_view message) const {
  write(LogLevel::kWarning, ":" + std::string(location) + ": ", message);
}

void Log::error_in_file(std::string_view location, std::string_view message) const {
  write(LogLevel::kError, ":" + std::string(location) + ": ", message);
}

void Log::write(LogLevel level, std::string_view location, std::string_view message, Fields fields) const {
  if (!enabled(level)) return;
  channel_->write(
      {.level = level, .program = program_name_, .location = location, .message = message, .fields = fields});
}

void Log::write_line(const ConditionSchedule::Line& line, Fields fields) const {
  if (!line.text.empty()) {
    write(line.level, ": ", line.text, fields);
  } else {
    due_time_changed();
  }
}

void Log::flush() const {
  (void)channel_->flush();
  trace_->flush();
}

}  // namespace blockexport
