// PeerLineLimiter: rate limit for log lines that unauthenticated peers can cause: a limit for each group of peers and
// one for all groups together, in a window of time that begins with the first line. Further lines are counted, and one
// line gives their number when the window ends.
//
// Owned by the Log's episodes, which lock it. Memory: the groups of one window, at most kPeerGroupsMax; all further
// ones count as one group. Thread: not safe by itself. Reads no clock.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace blockexport {

// Length of the window: about as long as an operator waits for the next line about a lasting problem.
inline constexpr std::uint64_t kPeerWindowNs = 60'000'000'000;
// Lines per window about one group of peers, and about all groups.
inline constexpr std::uint64_t kPeerLinesMax = 20;
inline constexpr std::uint64_t kAllPeerLinesMax = 200;
// Groups with counts of their own in one window.
inline constexpr std::size_t kPeerGroupsMax = 1024;

class PeerLineLimiter {
 public:
  enum class Verdict : std::uint8_t {
    kWrite,
    kWriteAsLast,  // write it, then last_line_notice()
    kCount,
  };

  // Decides about a line about a peer of `group`. When due_ns() has passed, the caller calls take_due() first.
  Verdict admit(std::string_view group, std::uint64_t now_ns);
  static std::string last_line_notice(std::string_view group);

  // The end of the window, if lines were counted in it; UINT64_MAX otherwise.
  std::uint64_t due_ns() const { return counted_ > 0 ? window_end_ns_ : UINT64_MAX; }
  // Returns the line with the number of suppressed lines, and ends the window; empty when there were none.
  std::string take_due();

 private:
  struct Counts {
    std::uint64_t written = 0;
    std::uint64_t counted = 0;
  };
  void end_window();

  std::map<std::string, Counts, std::less<>> groups_;
  Counts others_;  // of groups beyond kPeerGroupsMax
  std::uint64_t written_ = 0;
  std::uint64_t counted_ = 0;
  std::uint64_t window_end_ns_ = 0;
};

}  // namespace blockexport
