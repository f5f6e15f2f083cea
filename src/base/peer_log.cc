#include "base/peer_log.h"

#include "base/log_episodes.h"

namespace blockexport {

void PeerLog::tell(std::string_view message, Fields fields) const {
  if (!tells_of_clients()) return;
  switch (log_.episodes().admit(LogEpisodes::PeerLines::kInformation, group_)) {
    case PeerLineLimiter::Verdict::kWrite:
      return log_.write(LogLevel::kInfo, ": ", message, fields);
    case PeerLineLimiter::Verdict::kWriteAsLast:
      log_.write(LogLevel::kInfo, ": ", message, fields);
      return log_.info(PeerLineLimiter::last_line_notice(group_));
    case PeerLineLimiter::Verdict::kCount:
      return log_.due_time_changed();
  }
}

void PeerLog::write(LogLevel level, std::string_view message, Fields fields) const {
  if (!enabled(level)) return;
  switch (log_.episodes().admit(LogEpisodes::PeerLines::kWarnings, group_)) {
    case PeerLineLimiter::Verdict::kWrite:
      return log_.write(level, ": ", message, fields);
    case PeerLineLimiter::Verdict::kWriteAsLast:
      log_.write(level, ": ", message, fields);
      return log_.warning(PeerLineLimiter::last_line_notice(group_));
    case PeerLineLimiter::Verdict::kCount:
      return log_.due_time_changed();
  }
}

}  // namespace blockexport
