#include "schema/command_entry.h"

#include <algorithm>

namespace blockexport::schema {

const CommandEntry* find_command(std::span<const CommandEntry> table, std::string_view name) {
  auto found = std::ranges::lower_bound(table, name, {}, &CommandEntry::name);
  return found != table.end() && found->name == name ? &*found : nullptr;
}

}  // namespace blockexport::schema
