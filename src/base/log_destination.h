// LogDestination: the receiver of a log: a descriptor, systemd's journal, or syslog(3). Owned by a LogChannel, whose
// writing thread alone calls it: a call may wait for the receiver.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log_format.h"
#include "base/owned_fd.h"

namespace blockexport {

// Socket of systemd-journald for its native protocol.
inline constexpr char kJournalSocket[] = "/run/systemd/journal/socket";
// Longest wait for a journal that accepts nothing, per record.
inline constexpr std::uint64_t kJournalSendMaxNs = 500'000'000;

class LogDestination {
 public:
  // A borrowed or owned descriptor for lines of text or JSON. It keeps its flags, since other processes share it.
  LogDestination(LogFormat format, int fd) : format_(format), fd_(fd) {}
  LogDestination(LogFormat format, OwnedFd fd) : format_(format), fd_(fd.get()), owned_(std::move(fd)) {}
  // The journal at `path`. Errors: nobody listens there.
  static Result<LogDestination> journal(const std::string& path = kJournalSocket);
  // syslog(3), with the process ID and the facility "daemon". A later call with another name replaces this one.
  static LogDestination syslog(std::string_view program_name);

  LogFormat format() const { return format_; }
  // The descriptor for lines; -1 for the journal and for syslog.
  int line_fd() const { return is_line_format(format_) ? fd_ : -1; }
  // Sends one frame's payload to the journal or to syslog. False: the journal did not take it; syslog never says so.
  bool send(std::string_view payload) const;

 private:
  bool send_to_journal(std::string_view payload) const;

  LogFormat format_;
  int fd_ = -1;
  OwnedFd owned_;
  std::string journal_path_;
};

}  // namespace blockexport
