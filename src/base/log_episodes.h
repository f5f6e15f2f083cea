// LogEpisodes: log lines that become due by time: the number of suppressed lines about peers, the number of failures of
// a lasting condition, and its end.
//
// Part of a Log, shared with the thread of its channel. It holds its lock only briefly, and calls nobody while it does.
// Thread: any.
#pragma once

#include <memory>
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
  // Lines about peers that have limits of their own: a peer that comes and goes often hides no warning about it.
  enum class PeerLines { kWarnings, kInformation };

  LogEpisodes(std::string program_name, std::shared_ptr<LogSelection> selection)
      : program_name_(std::move(program_name)), selection_(std::move(selection)) {}

  // True if a line about a peer of `group` may be written now.
  PeerLineLimiter::Verdict admit(PeerLines kind, std::string_view group);

  void add(ConditionEpisode& episode);
  void remove(ConditionEpisode& episode);
  // The line to write now, or an empty one.
  ConditionSchedule::Line happened(ConditionEpisode& episode, std::string_view text);
  void ended(ConditionEpisode& episode, std::string_view text);
  void clear(ConditionEpisode& episode);

  // TimedLines
  std::uint64_t due_ns() const override;
  void take_due(std::uint64_t now_ns, const LogLines& lines) override;
  void take_last(const LogLines& lines) override;

 private:
  void add_line(const ConditionSchedule::Line& line, const LogLines& lines, std::string_view server = {}) const;
  PeerLineLimiter& limiter(PeerLines kind) { return kind == PeerLines::kWarnings ? limiter_ : information_limiter_; }
  void take_counts(PeerLines kind, std::vector<ConditionSchedule::Line>& lines);

  const std::string program_name_;
  const std::shared_ptr<LogSelection> selection_;
  mutable std::mutex mutex_;
  PeerLineLimiter limiter_;
  PeerLineLimiter information_limiter_;
  std::vector<ConditionSchedule::Line> overdue_;  // lines that were due when admit() was called
  std::vector<ConditionEpisode*> episodes_;
};

}  // namespace blockexport
