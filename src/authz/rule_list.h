// RuleList: access rules that are matched in order against an identity, and a policy for identities that match none.
//
// A value; thread: any, while nobody changes it. A decision allocates only its verdict, and a match takes time of at
// most the product of the lengths of pattern and identity.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "authz/authorizer.h"

namespace blockexport::authz {

// Every authorizer denies a longer identity.
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

// True if the whole `text` matches `pattern`, in which '*' matches any number of bytes, also none, and '?' one UTF-8
// character, or one byte that belongs to none. Every other byte matches itself.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace blockexport::authz
