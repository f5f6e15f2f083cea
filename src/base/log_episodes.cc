#include "base/log_episodes.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/lasting_condition.h"

namespace blockexport {

PeerLineLimiter::Verdict LogEpisodes::admit(std::string_view group) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  if (limiter_.due_ns() <= now) append({.text = limiter_.take_due()}, overdue_);
  return limiter_.admit(group, now);
}

void LogEpisodes::add(LastingCondition& condition) {
  std::lock_guard lock(mutex_);
  conditions_.push_back(&condition);
}

void LogEpisodes::remove(LastingCondition& condition) {
  std::lock_guard lock(mutex_);
  std::erase(conditions_, &condition);
}

ConditionSchedule::Line LogEpisodes::happened(LastingCondition& condition, std::string_view text) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  condition.is_on_.store(true, std::memory_order_relaxed);
  return condition.schedule_.happened(text, now);
}

void LogEpisodes::ended(LastingCondition& condition, std::string_view text) {
  const std::uint64_t now = SystemClock().now_ns();
  std::lock_guard lock(mutex_);
  condition.schedule_.ended(text, now);
}

void LogEpisodes::clear(LastingCondition& condition) {
  std::lock_guard lock(mutex_);
  condition.schedule_.clear();
  condition.is_on_.store(false, std::memory_order_relaxed);
}

std::uint64_t LogEpisodes::due_ns() const {
  std::lock_guard lock(mutex_);
  std::uint64_t due = overdue_.empty() ? limiter_.due_ns() : 0;
  for (const LastingCondition* condition : conditions_) due = std::min(due, condition->schedule_.due_ns());
  return due;
}

void LogEpisodes::take_due(std::uint64_t now_ns, std::string& lines) {
  std::lock_guard lock(mutex_);
  lines += std::exchange(overdue_, {});
  if (limiter_.due_ns() <= now_ns) append({.text = limiter_.take_due()}, lines);
  for (LastingCondition* condition : conditions_) {
    append(condition->schedule_.take_due(now_ns), lines);
    condition->is_on_.store(condition->schedule_.is_on(), std::memory_order_relaxed);
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
