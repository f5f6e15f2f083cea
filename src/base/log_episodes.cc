#include "base/log_episodes.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log_line.h"

namespace blockexport {

PeerLineLimiter::Verdict LogEpisodes::admit(std::string_view group) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  if (limiter_.due_ns() <= now) append({.text = limiter_.take_due()}, overdue_);
  return limiter_.admit(group, now);
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
  std::uint64_t due = overdue_.empty() ? limiter_.due_ns() : 0;
  for (const ConditionEpisode* episode : episodes_) due = std::min(due, episode->schedule.due_ns());
  return due;
}

void LogEpisodes::take_due(std::uint64_t now_ns, std::string& lines) {
  std::lock_guard lock(mutex_);
  lines += std::exchange(overdue_, {});
  if (limiter_.due_ns() <= now_ns) append({.text = limiter_.take_due()}, lines);
  for (ConditionEpisode* episode : episodes_) {
    append(episode->schedule.take_due(now_ns), lines);
    episode->is_on.store(episode->schedule.is_on(), std::memory_order_relaxed);
  }
}

void LogEpisodes::take_last(std::string& lines) {
  std::lock_guard lock(mutex_);
  lines += std::exchange(overdue_, {});
  append({.text = limiter_.take_due()}, lines);
}

void LogEpisodes::append(const ConditionSchedule::Line& line, std::string& lines) const {
  if (!line.text.empty() && line.level <= threshold_) lines += log_line(program_name_, line.level, ": ", line.text);
}

}  // namespace blockexport
