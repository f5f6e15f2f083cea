#include "client/backup/name_list.h"

#include <fmt/format.h>

#include "base/printable.h"

namespace blockexport::backup {
namespace {

constexpr std::size_t kNamesShownMax = 10;

}  // namespace

std::string list_names(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamesShownMax; ++i) {
    text += fmt::format("{}'{}'", i == 0 ? "" : ", ", printable(names[i]));
  }
  return names.size() > kNamesShownMax ? text + ", ..." : text;
}

}  // namespace blockexport::backup
