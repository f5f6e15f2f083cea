#include "export/nbd/server/export_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "authz/rule_list.h"
#include "base/printable.h"

namespace blockexport::nbd {

bool ExportView::contains(std::string_view export_name) const {
  if (!patterns) return true;
  return std::ranges::any_of(*patterns,
                             [&](const std::string& pattern) { return authz::matches_glob(pattern, export_name); });
}

Result<> ExportView::check() const {
  if (!patterns) return {};
  if (patterns->size() > kViewPatternsMax) {
    return fail(fmt::format("A server has at most {} patterns of export names, and there are {}", kViewPatternsMax,
                            patterns->size()));
  }
  for (const std::string& pattern : *patterns) {
    if (pattern.size() <= kViewPatternBytesMax) continue;
    return fail(fmt::format("A pattern of export names has at most {} bytes, and '{}' has {}", kViewPatternBytesMax,
                            printable(pattern), pattern.size()));
  }
  return {};
}

}  // namespace blockexport::nbd
