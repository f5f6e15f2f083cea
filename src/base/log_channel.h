// LogChannel: buffered writer of log records to a destination that may block: standard error, a file, the journal, or
// syslog (base/log_destination.h). It encodes the records in the format of the destination.
//
// Until start() the calling thread writes. From then on a thread of the channel writes, and callers only copy into a
// buffer of kLogBytesMax: lines that do not fit are dropped, and a notice with their number is written in their place.
// A descriptor keeps its flags, since other processes share them. Owned by main() or by the Trace. Thread: any;
// set_timed_lines() and start() are called before other threads use the channel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log_destination.h"
#include "base/owned_fd.h"

namespace blockexport {

// Size of the buffer of pending lines; a longer line is accepted when the buffer is empty.
inline constexpr std::size_t kLogBytesMax = 256u << 10;
// Longest wait of flush() and of the destructor for a descriptor that accepts nothing.
inline constexpr std::uint64_t kLogFlushNs = 500'000'000;

// Lines of a format that are being collected.
class LogLines {
 public:
  LogLines(LogFormat format, std::string& out) : format_(format), out_(out) {}
  void add(const LogRecord& record) const;

 private:
  const LogFormat format_;
  std::string& out_;
};

// Source of lines that become due by time alone. Any thread may call it; it never calls the channel.
class TimedLines {
 public:
  virtual ~TimedLines() = default;
  // When the next lines are due on CLOCK_MONOTONIC; UINT64_MAX: none is due at present.
  virtual std::uint64_t due_ns() const = 0;
  // Adds the lines that are due.
  virtual void take_due(std::uint64_t now_ns, const LogLines& lines) = 0;
  // Adds the lines that must be written before the log ends.
  virtual void take_last(const LogLines& lines) = 0;
};

class LogChannel {
 public:
  // For text. `prefix` begins the notice about dropped lines. The descriptor is borrowed (first form) or owned (second
  // form).
  LogChannel(int fd, std::string prefix);
  LogChannel(OwnedFd fd, std::string prefix);
  LogChannel(LogDestination destination, std::string program_name);
  // Waits until the pending lines are written, at most kLogFlushNs.
  ~LogChannel();
  LogChannel(const LogChannel&) = delete;
  LogChannel& operator=(const LogChannel&) = delete;

  void set_timed_lines(std::shared_ptr<TimedLines> timed);
  // Starts the thread; no fork() afterwards. When it fails, calling threads go on writing, and drop their lines while
  // the descriptor would block.
  Result<> start();

  // Records stay in the order of the calls.
  void write(const LogRecord& record);
  // Whole lines with their newlines, for a channel whose format is text.
  void write(std::string_view lines);
  // Records of later calls go to `destination`, earlier ones to the former one.
  void redirect(LogDestination destination);
  // Tells the thread that due_ns() of the timed lines has changed.
  void due_time_changed();
  // Waits until all earlier lines are written. False: some were not after kLogFlushNs.
  bool flush();

 private:
  class State;
  std::shared_ptr<State> state_;  // shared with the thread, which outlives the channel when the descriptor blocks
};

}  // namespace blockexport
