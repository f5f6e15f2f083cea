// ExportView: the part of all exports that a server shows: patterns of export names, and what clients may do.
//
// A plain value. Patterns come from the administrator and names partly from clients, so both have a limit, and the time
// of a match is at most proportional to the product of their lengths. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::nbd {

// Patterns of one view, and bytes of one pattern.
inline constexpr std::size_t kViewPatternsMax = 64;
inline constexpr std::size_t kViewPatternBytesMax = 256;

struct ExportView {
  // See authz::matches_glob(). Nullopt: every export; an empty list: none.
  std::optional<std::vector<std::string>> patterns = {};
  // Clients see each export as read-only.
  bool read_only = false;

  bool contains(std::string_view export_name) const;
  // Errors: too many patterns, or one that is too long.
  Result<> check() const;

  friend bool operator==(const ExportView&, const ExportView&) = default;
};

}  // namespace blockexport::nbd
