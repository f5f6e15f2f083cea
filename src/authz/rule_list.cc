#include "authz/rule_list.h"

#include <fmt/format.h>

#include "base/printable.h"

namespace blockexport::authz {
namespace {

// Length in bytes of the first character of `text`, which is not empty.
std::size_t character_bytes(std::string_view text) {
  auto first = static_cast<unsigned char>(text.front());
  std::size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (wanted > text.size()) return 1;
  for (char byte : text.substr(1, wanted - 1)) {
    if ((static_cast<unsigned char>(byte) & 0xc0) != 0x80) return 1;
  }
  return wanted;
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view text) {
  // The positions to resume at when the pattern after the last '*' does not match: that star then takes one byte more.
  // Backtracking to an earlier star is never needed, since the last one can take any bytes the earlier one could.
  std::string_view after_star;
  std::string_view star_text;
  bool has_star = false;
  while (!text.empty() || !pattern.empty()) {
    if (!pattern.empty() && pattern.front() == '*') {
      pattern.remove_prefix(1);
      after_star = pattern;
      star_text = text;
      has_star = true;
    } else if (!pattern.empty() && !text.empty() && (pattern.front() == '?' || pattern.front() == text.front())) {
      text.remove_prefix(pattern.front() == '?' ? character_bytes(text) : 1);
      pattern.remove_prefix(1);
    } else if (has_star && !star_text.empty()) {
      star_text.remove_prefix(1);
      text = star_text;
      pattern = after_star;
    } else {
      return false;
    }
  }
  return true;
}

bool Rule::matches(std::string_view identity) const {
  return format == Format::kGlob ? matches_glob(match, identity) : match == identity;
}

Verdict RuleList::decide(std::string_view identity) const {
  if (identity.size() > kIdentityBytesMax) return {.allowed = false, .rule = {}, .reason = "the identity is too long"};
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const Rule& rule = rules[i];
    if (!rule.matches(identity)) continue;
    std::string_view format = rule.format == Rule::Format::kGlob ? "glob" : "exact";
    return {.allowed = rule.allows,
            .rule = fmt::format("rules[{}] ({} '{}')", i, format, printable(rule.match)),
            .reason = rule.allows ? "the first rule that matches allows it" : "the first rule that matches denies it"};
  }
  return {.allowed = allows_others,
          .rule = "policy",
          .reason = allows_others ? "no rule matches, and the policy is to allow"
                                  : "no rule matches, and the policy is to deny"};
}

}  // namespace blockexport::authz
