#include "control/commands/export_types.h"

#include <array>
#include <cassert>
#include <utility>

namespace blockexport::control {
namespace {

using Make = MadeExport (*)(Control& control, const schema::BlockExportOptions& options,
                            std::unique_ptr<block::Edge>& edge);

template <std::size_t... kValues>
constexpr std::array<Make, sizeof...(kValues)> table_of(std::index_sequence<kValues...> /*values*/) {
  return {&make_export<static_cast<schema::BlockExportType>(kValues)>...};
}

// Indexed by the value of the type.
constexpr std::array kMakers =
    table_of(std::make_index_sequence<schema::EnumNames<schema::BlockExportType>::kNames.size()>());

}  // namespace

MadeExport make_export_of_any_type(Control& control, const schema::BlockExportOptions& options,
                                   std::unique_ptr<block::Edge>& edge) {
  return kMakers[static_cast<std::size_t>(options.type())](control, options, edge);
}

schema::BlockExportType type_of(const exports::Export& made) {
  const auto type = schema::value_of<schema::BlockExportType>(made.type());
  assert(type);
  return *type;
}

}  // namespace blockexport::control
