#include "base/condition_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace blockexport {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
// A report with a new text is written after this fraction of the interval.
constexpr std::uint64_t kRewordedPart = 10;

std::string times_in(std::uint64_t count, std::uint64_t ns) {
  return fmt::format("{} time{} in {} s", count, count == 1 ? "" : "s",
                     std::max<std::uint64_t>(1, ns / kNanosecondsPerSecond));
}

}  // namespace

ConditionSchedule::Line ConditionSchedule::happened(std::string_view text, std::uint64_t now_ns) {
  const bool is_back = quiet_ns_ > 0 && now_ns - last_ns_ < kConditionLongestNs;
  if (!is_back) count_ = 0;
  is_ending_ = false;
  if (count_++ == 0) {
    quiet_ns_ = is_back ? std::min(2 * quiet_ns_, kConditionLongestNs) : kConditionQuietNs;
    first_ns_ = now_ns;
    last_ns_ = now_ns;
    written_ns_ = now_ns;
    unwritten_ = 0;
    is_reworded_ = false;
    distance_ns_ = kConditionFirstNs;
    text_ = text;
    return {.text = text_};
  }
  last_ns_ = now_ns;
  ++unwritten_;
  if (text != text_) {
    text_ = text;
    is_reworded_ = true;
  }
  return now_ns >= due_ns() ? take_due(now_ns) : Line{};
}

void ConditionSchedule::ended(std::string_view text, std::uint64_t now_ns) {
  if (!is_on() || is_ending_) return;
  is_ending_ = true;
  ended_ns_ = now_ns;
  end_text_ = text;
}

std::uint64_t ConditionSchedule::due_ns() const {
  if (is_ending_) return ended_ns_ + quiet_ns_;
  if (unwritten_ == 0) return UINT64_MAX;
  return written_ns_ + (is_reworded_ ? distance_ns_ / kRewordedPart : distance_ns_);
}

ConditionSchedule::Line ConditionSchedule::take_due(std::uint64_t now_ns) {
  if (now_ns < due_ns()) return {};
  if (is_ending_) {
    is_ending_ = false;
    unwritten_ = 0;
    const std::uint64_t count = std::exchange(count_, 0);
    return {.level = LogLevel::kInfo,
            .text = fmt::format("{} (before: {})", end_text_, times_in(count, last_ns_ - first_ns_))};
  }
  std::string text = fmt::format("{} ({})", text_, times_in(std::exchange(unwritten_, 0), now_ns - written_ns_));
  is_reworded_ = false;
  written_ns_ = now_ns;
  distance_ns_ = std::min(2 * distance_ns_, kConditionLongestNs);
  return {.text = std::move(text)};
}

}  // namespace blockexport
