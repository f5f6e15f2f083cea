// StallJudge: whether a client that holds memory of the process moves what it holds it for.
//
// Memory that others wait for may not be held for ever by a client that stops in the middle of a large write, or that
// does not take its replies. Nobody is judged while nobody waits, while it is the storage that is slow, or while the
// client itself waits for memory; a slow client that moves is left alone. A plain value, used by the session's
// watch; it never waits.
#pragma once

#include <cstdint>

namespace blockexport::exports {

// A client that has moved less than kStallBytesMin in this time, while others waited for what it holds, is
// disconnected.
inline constexpr std::uint64_t kStallNs = 10'000'000'000;
inline constexpr std::uint64_t kStallBytesMin = 256u << 10;
inline constexpr std::uint64_t kStallCheckNs = 1'000'000'000;

class StallJudge {
 public:
  StallJudge(std::uint64_t moved_bytes, std::uint64_t now_ns) : seen_bytes_(moved_bytes), since_ns_(now_ns) {}

  // Called every kStallCheckNs; says whether the client is to be disconnected. `blocks_others`: it is the client that
  // is waited for, and others wait for memory. `moved_bytes`: of payload and of replies, since the session began.
  bool check(bool blocks_others, std::uint64_t moved_bytes, std::uint64_t now_ns) {
    if (blocks_others && moved_bytes - seen_bytes_ < kStallBytesMin) return now_ns - since_ns_ >= kStallNs;
    seen_bytes_ = moved_bytes;
    since_ns_ = now_ns;
    return false;
  }

 private:
  std::uint64_t seen_bytes_;
  std::uint64_t since_ns_;
};

}  // namespace blockexport::exports
