// ConditionSchedule: rate limit for the log lines about one recurring failure. It writes the first report; then, at
// intervals that double, the number of reports since the last line; and the end, once no report came for a quiet time,
// which doubles when the failure returns soon. A report with a new text is written sooner. So the number of lines stays
// small however long the failure lasts and however often it returns.
//
// Part of a LastingCondition. Thread: needs a lock outside. Reads no clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/log_level.h"

namespace blockexport {

// The interval between the first two lines of an episode, and the longest interval.
inline constexpr std::uint64_t kConditionFirstNs = 10'000'000'000;
inline constexpr std::uint64_t kConditionLongestNs = 3'600'000'000'000;
// Quiet time after which the end of an episode is written; it doubles when the failure returns within
// kConditionLongestNs.
inline constexpr std::uint64_t kConditionQuietNs = 10'000'000'000;

class ConditionSchedule {
 public:
  struct Line {
    LogLevel level = LogLevel::kWarning;
    std::string text = {};  // empty: no line
  };

  // Reports a failure. One that comes more than kConditionLongestNs after the last begins a new episode, even if nobody
  // has ended the old one.
  Line happened(std::string_view text, std::uint64_t now_ns);
  // Reports a success. If no failure follows within the quiet time, `text` becomes the line that ends the episode.
  void ended(std::string_view text, std::uint64_t now_ns);
  // Ends the episode without a line, because the caller reports the end itself.
  void clear() { *this = {}; }

  bool is_on() const { return count_ > 0; }
  // Time at which the next line is due; UINT64_MAX: none is due before the next report.
  std::uint64_t due_ns() const;
  Line take_due(std::uint64_t now_ns);

 private:
  std::string text_;  // text of the last report
  std::string end_text_;
  bool is_ending_ = false;
  bool is_reworded_ = false;     // text_ has not been written yet
  std::uint64_t count_ = 0;      // in this episode
  std::uint64_t unwritten_ = 0;  // since the last line
  std::uint64_t first_ns_ = 0;
  std::uint64_t last_ns_ = 0;
  std::uint64_t ended_ns_ = 0;
  std::uint64_t written_ns_ = 0;
  std::uint64_t distance_ns_ = 0;
  std::uint64_t quiet_ns_ = 0;
};

// The state that a log keeps for a LastingCondition. The log's lock protects it, except `is_on`, which any thread may
// read.
struct ConditionEpisode {
  const std::string server = {};  // value of the field `server` of its lines; empty: they have none
  ConditionSchedule schedule = {};
  std::atomic<bool> is_on = false;
};

}  // namespace blockexport
