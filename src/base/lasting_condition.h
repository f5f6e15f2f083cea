// LastingCondition: log lines about a failure that recurs for as long as its cause lasts, for example accept(2) without
// free descriptors: the log gets its begin, its end, and at growing intervals the number of failures in between
// (schedule: base/condition_schedule.h).
//
// Owned by the component that fails; the log outlives it. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/condition_schedule.h"
#include "base/log.h"

namespace blockexport {

class LastingCondition {
 public:
  // `server`: id of the server that fails, which each line has as a field; empty: it has none.
  explicit LastingCondition(const Log& log, std::string server = {});
  // An episode that is on ends without a line.
  ~LastingCondition();
  LastingCondition(const LastingCondition&) = delete;
  LastingCondition& operator=(const LastingCondition&) = delete;

  // Reports a failure: writes `text` as a warning, unless the schedule has written one recently.
  void happened(std::string_view text);
  // Reports a success. If no failure follows within the quiet time, `text` is written at level info, with the number of
  // failures.
  void ended(std::string_view text);
  // Ends the episode without a line, because the caller reports the end itself. The next failure begins a new episode.
  void clear();
  // True if an episode is on. Cheap, so that callers can avoid building the text for ended().
  bool is_on() const { return episode_.is_on.load(std::memory_order_relaxed); }

 private:
  const Log& log_;
  ConditionEpisode episode_;
};

}  // namespace blockexport
