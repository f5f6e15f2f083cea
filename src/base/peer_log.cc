#include "base/peer_log.h"

#include <vector>

#include "base/log_episodes.h"

namespace blockexport {

void PeerLog::tell(std::string_view message, Fields fields) const {
  if (!tells_of_clients()) return;
  switch (log_.episodes().admit(LogEpisodes::PeerLines::kInformation, group_)) {
    case PeerLineLimiter::Verdict::kWrite:
      return write_admitted(LogLevel::kInfo, message, fields);
    case PeerLineLimiter::Verdict::kWriteAsLast:
      write_admitted(LogLevel::kInfo, message, fields);
      return log_.info(PeerLineLimiter::last_line_notice(group_));
    case PeerLineLimiter::Verdict::kCount:
      return log_.due_time_changed();
  }
}

void PeerLog::write(LogLevel level, std::string_view message, Fields fields) const {
  if (!enabled(level)) return;
  switch (log_.episodes().admit(LogEpisodes::PeerLines::kWarnings, group_)) {
    case PeerLineLimiter::Verdict::kWrite:
      return write_admitted(level, message, fields);
    case PeerLineLimiter::Verdict::kWriteAsLast:
      write_admitted(level, message, fields);
      return log_.warning(PeerLineLimiter::last_line_notice(group_));
    case PeerLineLimiter::Verdict::kCount:
      return log_.due_time_changed();
  }
}

void PeerLog::write_admitted(LogLevel level, std::string_view message, Fields fields) const {
  std::vector<LogField> all(fields.begin(), fields.end());
  if (!server_.empty()) all.push_back({.name = "server", .value = server_});
  log_.write(level, ": ", message, all);
}

}  // namespace blockexport
