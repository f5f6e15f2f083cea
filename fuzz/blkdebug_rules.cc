// Fuzzes the parser of blkdebug's rule files: no text may break it, and the rules that it returns are in range and can
// be followed.
//
// Input: the text of a file.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "drivers/blkdebug/rule_file.h"

namespace blockexport::drivers {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void fuzz(std::string_view text) {
  auto rules = parse_rules(text);
  if (!rules) return require(!rules.error().message().empty());
  require(rules->errors.size() + rules->states.size() <= kFaultRulesMax);
  for (const InjectErrorRule& rule : rules->errors) {
    require(rule.event <= block::DebugEvent::kNone);
    require(rule.error >= 0 && rule.error <= kFaultErrorMax);
    require(rule.delay_ns <= static_cast<std::uint64_t>(kFaultDelayNsMax));
  }
  FaultRules followed(std::move(*rules));
  for (auto event : {block::DebugEvent::kReadAio, block::DebugEvent::kL2Update, block::DebugEvent::kPwritevDone}) {
    followed.debug_event(event);
    (void)followed.take(RequestKind::kWrite, {4096, 512});
    (void)followed.take(RequestKind::kFlush, {});
  }
}

}  // namespace
}  // namespace blockexport::drivers

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::drivers::fuzz(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
