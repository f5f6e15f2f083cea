#include "schema/elsewhere.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::schema {

std::string elsewhere_note(ElsewhereSort sort, std::string_view context, std::string_view word) {
  const bool is_known = std::ranges::any_of(elsewhere_words(), [&](const ElsewhereWord& one) {
    return one.sort == sort && one.context == context && one.word == word;
  });
  if (!is_known) return {};
  return fmt::format("'{}' is known to qemu-storage-daemon {}, and is not built here yet.", word, kElsewhereVersion);
}

}  // namespace blockexport::schema
