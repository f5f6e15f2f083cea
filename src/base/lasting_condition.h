// LastingCondition: something that goes wrong again and again for as long as its cause lasts, as accepting clients
// without descriptors: the log gets its begin, its end, and now and then how often it happened between the two
// (base/condition_schedule.h says when).
//
// Owned by the component it happens to; the log outlives it. Thread: any.
#pragma once

#include <string_view>

#include "base/condition_schedule.h"
#include "base/log.h"

namespace blockexport {

class LastingCondition {
 public:
  explicit LastingCondition(const Log& log);
  // An episode that is on ends without a line.
  ~LastingCondition();
  LastingCondition(const LastingCondition&) = delete;
  LastingCondition& operator=(const LastingCondition&) = delete;

  // It happened: a warning that says so, unless one was written not long ago.
  void happened(std::string_view text);
  // It did not happen this time. When that holds, `text` is written as information, with how often it had happened.
  void ended(std::string_view text);
  // It is over for good: for those who say so themselves. The next time is a new begin.
  void clear();
  // Whether an episode is on; cheap, for what makes the text of ended().
  bool is_on() const { return episode_.is_on.load(std::memory_order_relaxed); }

 private:
  const Log& log_;
  ConditionEpisode episode_;
};

}  // namespace blockexport
