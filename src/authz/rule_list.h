// RuleList: rules that are tried in order against an identity, and a policy for whom none matches.
//
// A value; thread: any, when nobody changes it. It never allocates more than its verdict, and the time that a match
// takes is at most the product of the lengths of pattern and identity.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "authz/authorizer.h"

namespace blockexport::authz {

// A longer identity is refused by whoever decides.
inline constexpr std::size_t kIdentityBytesMax = 16u << 10;

struct Rule {
  enum class Format { kExact, kGlob };
  std::string match;  // the whole identity, or a pattern for it
  bool allows = false;
  Format format = Format::kExact;

  bool matches(std::string_view identity) const;
};

struct RuleList {
  std::vector<Rule> rules;
  bool allows_others = false;

  // The first rule that matches decides.
  Verdict decide(std::string_view identity) const;
};

// Whether all of `text` fits `pattern`, in which '*' stands for any bytes, also none, and '?' for one UTF-8 character,
// or one byte that belongs to none. All else stands for itself.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace blockexport::authz
