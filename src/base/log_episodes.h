// LogEpisodes: log lines that become due by time: the number of suppressed lines about peers, the number of failures of
// a lasting condition, and its end.
//
// Part of a Log, shared with the thread of its channel. It holds its lock only briefly, and calls nobody while it does.
// Thread: any.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/condition_schedule.h"
#include "base/log_channel.h"
#include "base/peer_line_limiter.h"

namespace blockexport {

class LogEpisodes final : public TimedLines {
 public:
  LogEpisodes(std::string program_name, LogLevel threshold)
      : program_name_(std::move(program_name)), threshold_(threshold) {}

  // Whether a line about a peer of `group` may be written now.
  PeerLineLimiter::Verdict admit(std::string_view group);

  void add(ConditionEpisode& episode);
  void remove(ConditionEpisode& episode);
  // The line to write now, or an empty one.
  ConditionSchedule::Line happened(ConditionEpisode& episode, std::string_view text);
  void ended(ConditionEpisode& episode, std::string_view text);
  void clear(ConditionEpisode& episode);

  // TimedLines
  std::uint64_t due_ns() const override;
  void take_due(std::uint64_t now_ns, std::string& lines) override;
  void take_last(std::string& lines) override;

 private:
  void append(const ConditionSchedule::Line& line, std::string& lines) const;

  const std::string program_name_;
  const LogLevel threshold_;
  mutable std::mutex mutex_;
  PeerLineLimiter limiter_;
  std::string overdue_;  // lines that were due when admit() was called
  std::vector<ConditionEpisode*> episodes_;
};

}  // namespace blockexport
