// FaultRules: rules of a blkdebug node, and their state: which requests fail, and with which error.
//
// A rule begins to hold at its event, and holds until an event at which other rules begin to hold. Owned by the driver.
// Any thread: a lock, held for a few steps, keeps the state; the rules are few.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "block/debug_events.h"
#include "block/range.h"

namespace blockexport::drivers {

// Kinds of requests, in the order of the schema's BlkdebugIOType.
enum class RequestKind : std::uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kBlockStatus };

inline constexpr std::size_t kFaultRulesMax = 1024;
inline constexpr std::int64_t kFaultErrorMax = 4095;
inline constexpr std::int64_t kFaultDelayNsMax = 3'600'000'000'000;

struct InjectErrorRule {
  block::DebugEvent event = block::DebugEvent::kNone;
  std::int64_t state = 0;                   // in which the event counts; 0: in any
  std::optional<RequestKind> kind = {};     // nullopt: any but kBlockStatus
  int error = 5;                            // 0: none
  std::uint64_t delay_ns = 0;               // before the error, or before the request goes on
  std::optional<std::int64_t> sector = {};  // of 512 bytes, whose first byte the request must contain
  bool once = false;
  bool immediately = false;  // in the turn of the request

  friend bool operator==(const InjectErrorRule&, const InjectErrorRule&) = default;
};

struct SetStateRule {
  block::DebugEvent event = block::DebugEvent::kNone;
  std::int64_t state = 0;
  std::int64_t new_state = 0;

  friend bool operator==(const SetStateRule&, const SetStateRule&) = default;
};

// In the order in which they were given: of several rules that fit, the first counts.
struct FaultRuleList {
  std::vector<InjectErrorRule> errors = {};
  std::vector<SetStateRule> states = {};

  bool empty() const { return errors.empty() && states.empty(); }
};

class FaultRules final : public block::DebugListener {
 public:
  // The node is in state 1, and the event kNone has come.
  explicit FaultRules(FaultRuleList rules);

  // Without rules no event and no request matters.
  bool empty() const { return rules_.empty(); }
  void debug_event(block::DebugEvent event) override;
  // The rule that a request follows; nothing: it goes on. Removes a rule that counts once. An empty range has no
  // sector.
  std::optional<InjectErrorRule> take(RequestKind kind, block::Range range);

 private:
  FaultRuleList rules_;
  std::mutex mutex_;
  std::int64_t state_ = 1;
  std::vector<std::size_t> active_;  // indices of the rules that hold
  std::vector<bool> is_removed_;     // of each rule for errors
};

}  // namespace blockexport::drivers
