// Authorization rules, converted from the schema's types or parsed from the text of a list file.
//
// Pure functions; thread: any. The text is untrusted: the result is rules or an error, within limits.
#pragma once

#include <string_view>

#include "authz/list_file.h"
#include "authz/rule_list.h"
#include "base/error.h"
#include "schema/authz.h"

namespace blockexport::control {

// Limits for the nesting depth and the number of tokens of a list file.
inline constexpr std::size_t kListFileNestingMax = 16;
inline constexpr std::size_t kListFileTokensMax = 262'144;

authz::RuleList to_rule_list(const schema::AuthZListProperties& properties);

// An authz::ParseRules. Errors name the file.
Result<authz::RuleList> parse_rule_list(std::string_view filename, std::string_view text);

}  // namespace blockexport::control
