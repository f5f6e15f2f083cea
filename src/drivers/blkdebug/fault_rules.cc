#include "drivers/blkdebug/fault_rules.h"

#include <algorithm>

namespace blockexport::drivers {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

bool counts(std::int64_t rule_state, std::int64_t state) {
  return rule_state == 0 || rule_state == state;
}

bool fits(const InjectErrorRule& rule, RequestKind kind, block::Range range) {
  if (rule.kind ? *rule.kind != kind : kind == RequestKind::kBlockStatus) return false;
  if (!rule.sector) return true;
  if (*rule.sector < 0 || range.empty()) return false;
  const auto sector = static_cast<std::uint64_t>(*rule.sector);
  return sector >= (range.offset + kSectorBytes - 1) / kSectorBytes && sector <= (range.end() - 1) / kSectorBytes;
}

}  // namespace

FaultRules::FaultRules(FaultRuleList rules) : rules_(std::move(rules)), is_removed_(rules_.errors.size()) {
  active_.reserve(rules_.errors.size());
  debug_event(block::DebugEvent::kNone);
}

void FaultRules::debug_event(block::DebugEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  bool is_first = true;
  for (std::size_t i = 0; i < rules_.errors.size(); ++i) {
    const InjectErrorRule& rule = rules_.errors[i];
    if (rule.event != event || is_removed_[i] || !counts(rule.state, state_)) continue;
    if (is_first) active_.clear();
    is_first = false;
    active_.push_back(i);
  }
  const auto rule = std::ranges::find_if(rules_.states, [this, event](const SetStateRule& one) {
    return one.event == event && counts(one.state, state_);
  });
  if (rule != rules_.states.end()) state_ = rule->new_state;
}

std::optional<InjectErrorRule> FaultRules::take(RequestKind kind, block::Range range) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found =
      std::ranges::find_if(active_, [&](std::size_t index) { return fits(rules_.errors[index], kind, range); });
  if (found == active_.end()) return std::nullopt;
  const InjectErrorRule& rule = rules_.errors[*found];
  if (rule.error == 0 && rule.delay_ns == 0) return std::nullopt;
  if (rule.once) {
    is_removed_[*found] = true;
    active_.erase(found);
  }
  return rule;
}

}  // namespace blockexport::drivers
