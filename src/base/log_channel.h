// LogChannel: lines on their way to a descriptor that may not take them: standard error, or the file of --trace.
//
// Until start() a line is written by the thread that has it. From then on a thread of the channel's own writes, and
// callers only copy into memory of kLogBytesMax: what does not fit is dropped and counted, and the count is written
// where the lines would stand. The descriptor keeps its flags, since other processes share them. Owned by main() or by
// the Trace. Thread: any; set_timed_lines() and start() before others have it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport {

// Bytes that wait for the descriptor; one line may be longer when nothing else waits.
inline constexpr std::size_t kLogBytesMax = 256u << 10;
// How long flush() and the end of a channel wait for a descriptor that takes nothing.
inline constexpr std::uint64_t kLogFlushNs = 500'000'000;

// Lines that become due by time alone. Its calls come from any thread, and never call the channel back.
class TimedLines {
 public:
  virtual ~TimedLines() = default;
  // When the next lines are due on CLOCK_MONOTONIC; UINT64_MAX: never, as things are.
  virtual std::uint64_t due_ns() const = 0;
  // Appends the lines that are due, each with its newline.
  virtual void take_due(std::uint64_t now_ns, std::string& lines) = 0;
  // Appends what has to be said before the log ends.
  virtual void take_last(std::string& lines) = 0;
};

class LogChannel {
 public:
  // `prefix` stands before the line that tells of dropped ones. The descriptor is borrowed, or owned.
  LogChannel(int fd, std::string prefix);
  LogChannel(OwnedFd fd, std::string prefix);
  // Waits for what is left to be written, at most kLogFlushNs.
  ~LogChannel();
  LogChannel(const LogChannel&) = delete;
  LogChannel& operator=(const LogChannel&) = delete;

  void set_timed_lines(std::shared_ptr<TimedLines> timed);
  // Starts the thread; no fork() afterwards. When it fails, lines are still written by the thread that has them, and
  // dropped while the descriptor says that it would make that thread wait.
  Result<> start();

  // Whole lines with their newlines. They stay in the order of the calls.
  void write(std::string_view lines);
  // What the timed lines say about the next due time has changed.
  void due_time_changed();
  // Waits until what was written before is out. False: it is not after kLogFlushNs.
  bool flush();

 private:
  class State;
  std::shared_ptr<State> state_;  // the thread's too, which may outlive the channel when its descriptor is stuck
};

}  // namespace blockexport
