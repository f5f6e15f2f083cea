// ConditionSchedule: which of the reports of something that goes on become lines of the log: the first; then, at
// distances that double, how often it happened meanwhile; and its end, once it has not happened for a while, which
// doubles when it begins anew soon. A report in other words comes sooner. However long it goes on, and however often it
// begins, the lines become few.
//
// The inside of a LastingCondition. Thread: not safe by itself. Reads no clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/log_level.h"

namespace blockexport {

// Between the first two lines of an episode, and the longest distance.
inline constexpr std::uint64_t kConditionFirstNs = 10'000'000'000;
inline constexpr std::uint64_t kConditionLongestNs = 3'600'000'000'000;
// How long it has not happened when its end is told; it doubles when it comes back within the longest distance.
inline constexpr std::uint64_t kConditionQuietNs = 10'000'000'000;

class ConditionSchedule {
 public:
  struct Line {
    LogLevel level = LogLevel::kWarning;
    std::string text = {};  // empty: there is none
  };

  // It happened. After more than the longest distance it is another episode, even if nobody has ended the last.
  Line happened(std::string_view text, std::uint64_t now_ns);
  // It did not happen this time: if that holds, `text` is the line.
  void ended(std::string_view text, std::uint64_t now_ns);
  // It is over for good, and somebody else says so.
  void clear() { *this = {}; }

  bool is_on() const { return count_ > 0; }
  // When the next line is due; UINT64_MAX: not unless something happens.
  std::uint64_t due_ns() const;
  Line take_due(std::uint64_t now_ns);

 private:
  std::string text_;  // what happened last
  std::string end_text_;
  bool is_ending_ = false;
  bool is_reworded_ = false;     // text_ was not written yet
  std::uint64_t count_ = 0;      // in this episode
  std::uint64_t unwritten_ = 0;  // since the last line
  std::uint64_t first_ns_ = 0;
  std::uint64_t last_ns_ = 0;
  std::uint64_t ended_ns_ = 0;
  std::uint64_t written_ns_ = 0;
  std::uint64_t distance_ns_ = 0;
  std::uint64_t quiet_ns_ = 0;
};

// A schedule as a log keeps it for a LastingCondition: under the log's lock, but for `is_on`, which any thread may
// read.
struct ConditionEpisode {
  ConditionSchedule schedule = {};
  std::atomic<bool> is_on = false;
};

}  // namespace blockexport
