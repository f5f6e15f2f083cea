#include "base/trace.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "base/printable.h"

namespace blockexport {
namespace {

// Longest details of an event: names and addresses have limits of their own, error texts are truncated.
constexpr std::size_t kDetailBytesMax = 1024;

bool matches(std::string_view pattern, std::string_view name) {
  // The positions to resume at when the pattern after the last '*' does not match: that '*' then takes one byte more of
  // the name.
  std::size_t star = std::string_view::npos;
  std::size_t retry = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < name.size();) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      retry = i;
    } else if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == name[i])) {
      ++at;
      ++i;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      i = ++retry;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

}  // namespace

void Trace::write(TraceEvent event, std::string_view details) const {
  if (channel_ == nullptr) return;
  const std::string_view name = kNames[static_cast<std::size_t>(event)];
  std::string line(name);
  line += ' ';
  line += printable(details, kDetailBytesMax);
  const LogField fields[] = {{.name = "trace_event", .value = name}};
  channel_->write(
      {.level = LogLevel::kDebug, .program = program_name_, .message = line, .fields = fields, .is_trace = true});
}

void Trace::write_parts(TraceEvent event, std::initializer_list<std::string_view> parts) const {
  std::string details;
  for (std::string_view part : parts) details += part;
  write(event, details);
}

bool Trace::apply(std::string_view pattern) {
  const bool on = !pattern.starts_with('-');
  if (!on) pattern.remove_prefix(1);
  bool known = pattern.find('*') != std::string_view::npos;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (!matches(pattern, kNames[i])) continue;
    on_[i].store(on, std::memory_order_relaxed);
    known = true;
  }
  return known;
}

void Trace::flush() const {
  if (channel_ != nullptr) (void)channel_->flush();
}

Result<> Trace::write_to_file(const std::string& path) {
  // O_NONBLOCK makes a pipe without a reader an error: otherwise open(2) would block the start, signals included.
  OwnedFd opened(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666));
  if (!opened) return fail(Error::system(fmt::format("Error opening logfile {}", path), Errno::last()));
  file_ = std::make_unique<LogChannel>(std::move(opened), "warning: ");
  // If the thread cannot be started, the calling threads write their lines.
  (void)file_->start();
  channel_ = file_.get();
  return {};
}

}  // namespace blockexport
