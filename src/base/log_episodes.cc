#include "base/log_episodes.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace blockexport {

PeerLineLimiter::Verdict LogEpisodes::admit(PeerLines kind, std::string_view group) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  if (limiter(kind).due_ns() <= now) take_counts(kind, overdue_);
  return limiter(kind).admit(group, now);
}

void LogEpisodes::take_counts(PeerLines kind, std::vector<ConditionSchedule::Line>& lines) {
  lines.push_back(
      {.level = kind == PeerLines::kWarnings ? LogLevel::kWarning : LogLevel::kInfo, .text = limiter(kind).take_due()});
}

void LogEpisodes::add(ConditionEpisode& episode) {
  std::lock_guard lock(mutex_);
  episodes_.push_back(&episode);
}

void LogEpisodes::remove(ConditionEpisode& episode) {
  std::lock_guard lock(mutex_);
  std::erase(episodes_, &episode);
}

ConditionSchedule::Line LogEpisodes::happened(ConditionEpisode& episode, std::string_view text) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  episode.is_on.store(true, std::memory_order_relaxed);
  return episode.schedule.happened(text, now);
}

void LogEpisodes::ended(ConditionEpisode& episode, std::string_view text) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  episode.schedule.ended(text, now);
}

void LogEpisodes::clear(ConditionEpisode& episode) {
  std::lock_guard lock(mutex_);
  episode.schedule.clear();
  episode.is_on.store(false, std::memory_order_relaxed);
}

std::uint64_t LogEpisodes::due_ns() const {
  std::lock_guard lock(mutex_);
  std::uint64_t due = overdue_.empty() ? std::min(limiter_.due_ns(), information_limiter_.due_ns()) : 0;
  for (const ConditionEpisode* episode : episodes_) due = std::min(due, episode->schedule.due_ns());
  return due;
}

void LogEpisodes::take_due(std::uint64_t now_ns, const LogLines& lines) {
  std::lock_guard lock(mutex_);
  std::vector<ConditionSchedule::Line> due = std::exchange(overdue_, {});
  for (PeerLines kind : {PeerLines::kWarnings, PeerLines::kInformation}) {
    if (limiter(kind).due_ns() <= now_ns) take_counts(kind, due);
  }
  for (const ConditionSchedule::Line& line : due) add_line(line, lines);
  for (ConditionEpisode* episode : episodes_) {
    add_line(episode->schedule.take_due(now_ns), lines, episode->server);
    episode->is_on.store(episode->schedule.is_on(), std::memory_order_relaxed);
  }
}

void LogEpisodes::take_last(const LogLines& lines) {
  std::lock_guard lock(mutex_);
  std::vector<ConditionSchedule::Line> last = std::exchange(overdue_, {});
  for (PeerLines kind : {PeerLines::kWarnings, PeerLines::kInformation}) take_counts(kind, last);
  for (const ConditionSchedule::Line& line : last) add_line(line, lines);
}

void LogEpisodes::add_line(const ConditionSchedule::Line& line, const LogLines& lines, std::string_view server) const {
  if (line.text.empty() || !selection_->enabled(line.level)) return;
  const LogField field{.name = "server", .value = server};
  lines.add({.level = line.level,
             .program = program_name_,
             .message = line.text,
             .fields = {&field, server.empty() ? 0u : 1u}});
}

}  // namespace blockexport
