// PeerLog: rate-limited log for code that serves a peer. An unauthenticated peer decides how many lines it causes, so
// the lines about each group of peers are limited and further ones are counted (base/peer_line_limiter.h).
//
// Code that serves a peer has a PeerLog and no Log, so no new line there can bypass the limit. Owned by the object that
// serves the peer; the log outlives it. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/log.h"

namespace blockexport {

class PeerLog {
 public:
  // `group` names the peers that share a limit, as net::peer_group() does: an address, a network, a user. `server`: id
  // of the server that the peer uses, which outlives it and is a field of each record; empty: there is none.
  PeerLog(const Log& log, std::string group, std::string_view server = {})
      : log_(log), group_(std::move(group)), server_(server) {}

  using Fields = Log::Fields;
  void error(std::string_view message, Fields fields = {}) const { write(LogLevel::kError, message, fields); }
  void warning(std::string_view message, Fields fields = {}) const { write(LogLevel::kWarning, message, fields); }
  void info(std::string_view message) const { write(LogLevel::kInfo, message, {}); }
  void debug(std::string_view message) const { write(LogLevel::kDebug, message, {}); }
  // A line of level info about the coming or going of this peer, which a log writes when a user has asked for a level.
  // Its limits are apart from those of the other lines.
  void tell(std::string_view message, Fields fields) const;

  bool enabled(LogLevel level) const { return log_.enabled(level); }
  bool tells_of_clients() const { return log_.selection().tells_of_clients(); }
  const std::string& group() const { return group_; }
  // Trace events are not limited: a user who switches them on wants all of them.
  const Trace& trace() const { return log_.trace(); }

 private:
  void write(LogLevel level, std::string_view message, Fields fields) const;
  void write_admitted(LogLevel level, std::string_view message, Fields fields) const;

  const Log& log_;
  const std::string group_;
  const std::string_view server_;
};

}  // namespace blockexport
