// PeerLineLimiter: how many lines of the log those may cause who can only connect: some for each group of peers, some
// for all groups together, in a window of time that begins with the first line. The rest is counted, and told in one
// line when the window is over.
//
// Owned by the Log's episodes, which lock it. Memory: the groups of one window, kPeerGroupsMax of them; further ones
// are one group. Thread: not safe by itself. Reads no clock.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace blockexport {

// The window: as long as people wait for the next word about something that goes on.
inline constexpr std::uint64_t kPeerWindowNs = 60'000'000'000;
// Lines in a window about one group of peers, and about all of them.
inline constexpr std::uint64_t kPeerLinesMax = 20;
inline constexpr std::uint64_t kAllPeerLinesMax = 200;
// Groups that are told apart in a window.
inline constexpr std::size_t kPeerGroupsMax = 1024;

class PeerLineLimiter {
 public:
  enum class Verdict : std::uint8_t {
    kWrite,
    kWriteAsLast,  // and say that further ones are counted: last_line_notice()
    kCount,
  };

  // A line about a peer of `group` is there. When due_ns() has come, take_due() is called before.
  Verdict admit(std::string_view group, std::uint64_t now_ns);
  static std::string last_line_notice(std::string_view group);

  // The end of the window, if lines were counted in it; UINT64_MAX otherwise.
  std::uint64_t due_ns() const { return counted_ > 0 ? window_end_ns_ : UINT64_MAX; }
  // Tells of the lines that were counted and ends the window; empty when there were none.
  std::string take_due();

 private:
  struct Counts {
    std::uint64_t written = 0;
    std::uint64_t counted = 0;
  };
  void end_window();

  std::map<std::string, Counts, std::less<>> groups_;
  Counts others_;  // of groups that found no place
  std::uint64_t written_ = 0;
  std::uint64_t counted_ = 0;
  std::uint64_t window_end_ns_ = 0;
};

}  // namespace blockexport
