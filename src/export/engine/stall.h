// StallJudge: detects a client that holds memory of the process without making progress.
//
// A client that stops in the middle of a large write, or does not read its replies, must not hold memory for ever while
// others wait for it. No client is disconnected while nobody waits for memory, while the storage is slow, or while the
// client itself waits for memory; a slow client that makes progress is kept. A plain value, used by the session's stall
// watch; it never waits.
#pragma once

#include <cstdint>

namespace blockexport::exports {

// A client is disconnected when it has moved less than kStallBytesMin in this time, while others waited for memory that
// it held.
inline constexpr std::uint64_t kStallNs = 10'000'000'000;
inline constexpr std::uint64_t kStallBytesMin = 256u << 10;
inline constexpr std::uint64_t kStallCheckNs = 1'000'000'000;

class StallJudge {
 public:
  StallJudge(std::uint64_t moved_bytes, std::uint64_t now_ns) : seen_bytes_(moved_bytes), since_ns_(now_ns) {}

  // Called every kStallCheckNs; returns whether the client must be disconnected. `blocks_others`: the session waits for
  // the client, and others wait for memory. `moved_bytes`: bytes of payload and of replies since the session began.
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
