#include "base/peer_log.h"

#include "base/log_episodes.h"

namespace blockexport {

void PeerLog::write(LogLevel level, std::string_view message) const {
  if (!enabled(level)) return;
  switch (log_.episodes().admit(group_)) {
    case PeerLineLimiter::Verdict::kWrite:
      return log_.write(level, ": ", message);
    case PeerLineLimiter::Verdict::kWriteAsLast:
      log_.write(level, ": ", message);
      return log_.warning(PeerLineLimiter::last_line_notice(group_));
    case PeerLineLimiter::Verdict::kCount:
      return log_.due_time_changed();
  }
}

}  // namespace blockexport
