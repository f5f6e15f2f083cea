#include "base/peer_line_limiter.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace blockexport {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::uint64_t kWindowSeconds = kPeerWindowNs / kNanosecondsPerSecond;
// Groups that the notice about suppressed lines names.
constexpr std::size_t kGroupsNamedMax = 3;

}  // namespace

PeerLineLimiter::Verdict PeerLineLimiter::admit(std::string_view group, std::uint64_t now_ns) {
  if (now_ns >= window_end_ns_) {
    end_window();
    window_end_ns_ = now_ns + kPeerWindowNs;
  }
  auto found = groups_.find(group);
  if (found == groups_.end() && groups_.size() < kPeerGroupsMax) found = groups_.emplace(group, Counts()).first;
  Counts& counts = found == groups_.end() ? others_ : found->second;
  if (counts.written >= kPeerLinesMax || written_ >= kAllPeerLinesMax) {
    ++counts.counted;
    ++counted_;
    return Verdict::kCount;
  }
  ++written_;
  return ++counts.written == kPeerLinesMax ? Verdict::kWriteAsLast : Verdict::kWrite;
}

std::string PeerLineLimiter::last_line_notice(std::string_view group) {
  return fmt::format("further lines about {} are only counted, for up to {} s", group, kWindowSeconds);
}

std::string PeerLineLimiter::take_due() {
  std::string text;
  if (counted_ > 0) {
    using Group = std::pair<std::string_view, std::uint64_t>;
    std::vector<Group> left_out;
    for (const auto& [name, counts] : groups_) {
      if (counts.counted > 0) left_out.emplace_back(name, counts.counted);
    }
    const std::size_t named = std::min(left_out.size(), kGroupsNamedMax);
    std::ranges::partial_sort(left_out, left_out.begin() + static_cast<std::ptrdiff_t>(named), std::ranges::greater(),
                              &Group::second);
    text = fmt::format("{} more lines about peers were left out in the last {} s", counted_, kWindowSeconds);
    std::uint64_t rest = counted_;
    for (std::size_t i = 0; i < named; ++i) {
      text += fmt::format("{} {} about {}", i == 0 ? ":" : ",", left_out[i].second, left_out[i].first);
      rest -= left_out[i].second;
    }
    if (rest > 0) text += fmt::format("{} {} about others", named == 0 ? ":" : ",", rest);
  }
  end_window();
  return text;
}

void PeerLineLimiter::end_window() {
  groups_.clear();
  others_ = {};
  written_ = 0;
  counted_ = 0;
  window_end_ns_ = 0;
}

}  // namespace blockexport
