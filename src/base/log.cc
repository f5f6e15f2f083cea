#include "base/log.h"

#include <unistd.h>

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
    : Log(std::move(program_name), fd, threshold, kNothingTraced) {}

Log::Log(std::string program_name, int fd, LogLevel threshold, const Trace& trace)
    : program_name_(std::move(program_name)), fd_(fd), threshold_(threshold), trace_(&trace) {}

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
  if (!enabled(level)) return;
  std::string line = program_name_;
  append_printable(line, place, true);
  line += level_prefix(level);
  append_printable(line, message, true);
  line += '\n';
  // Nothing can be done about a standard error that fails.
  [[maybe_unused]] ssize_t written = ::write(fd_, line.data(), line.size());
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  append_printable(out, text.substr(0, limit), false);
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace blockexport
