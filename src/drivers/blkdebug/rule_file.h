// Rules of a blkdebug node from a file: sections [inject-error] and [set-state], and lines `name = "value"`.
//
// parse_rules() is a pure function; any thread. read_rules() reads a regular file of bounded size. Errors have
// qemu-storage-daemon's texts.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "drivers/blkdebug/fault_rules.h"

namespace blockexport::drivers {

inline constexpr std::size_t kRuleFileBytesMax = std::size_t{1} << 20;
inline constexpr std::size_t kRuleWordBytesMax = 63;     // of the name of a section, of its identifier, of an option
inline constexpr std::size_t kRuleValueBytesMax = 1023;  // of the value of an option

// A line is a comment that begins with '#', the head of a section, which may have an identifier in quotes, or an option
// of the section. An option without a quoted value has an empty one.
Result<FaultRuleList> parse_rules(std::string_view text);

aio::Task<Result<FaultRuleList>> read_rules(std::string path);

// The rule with these numbers if they are in range; for rules from options too.
Result<InjectErrorRule> check_rule(InjectErrorRule rule, std::int64_t error, std::int64_t delay_ns,
                                   std::int64_t sector);
Result<> check_number_of_rules(const FaultRuleList& rules);

}  // namespace blockexport::drivers
