// Exports of the type "nbd".

#include "export/nbd/server/nbd_export.h"

#include <fmt/format.h>

#include "control/commands/export.h"
#include "control/commands/export_types.h"
#include "control/core/authorizers.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

Result<> check_bitmaps(const schema::BlockExportOptionsNbd& options) {
  if (!options.bitmaps) return {};
  for (const schema::BlockDirtyBitmapOrStr& bitmap : *options.bitmaps) {
    // No command makes a bitmap yet, so no name can be found.
    if (bitmap.local() != nullptr) return fail(fmt::format("Bitmap '{}' is not found", *bitmap.local()));
    return fail(fmt::format("Dirty bitmap '{}' not found", bitmap.external()->name));
  }
  return {};
}

}  // namespace

template <>
MadeExport make_export<schema::BlockExportType::kNbd>(Control& control, const schema::BlockExportOptions& options,
                                                      std::unique_ptr<block::Edge>& edge) {
  TRY_ASSIGN(std::vector<aio::DataReactor*> reactors, find_iothreads(control, options));
  if (control.nbd_server() == nullptr) return fail("NBD server not running");
  const auto& nbd = options.as<schema::BlockExportType::kNbd>();
  nbd::NbdExportOptions export_options{.common = {.id = options.id,
                                                  .writable = options.writable.value_or(false),
                                                  .writethrough = options.writethrough.value_or(false),
                                                  .reactors = std::move(reactors)},
                                       .name = nbd.name.value_or(options.node_name),
                                       .description = nbd.description,
                                       .allocation_depth = nbd.allocation_depth.value_or(false),
                                       .tls_authz = nbd.tls_authz};
  TRY(nbd::NbdExport::check(control.nbd_server()->state(), export_options));
  TRY(check_bitmaps(nbd));
  if (nbd.tls_authz) warn_of_missing_authorizer(control.authorizers(), control.log(), *nbd.tls_authz);
  return std::make_unique<nbd::NbdExport>(control.nbd_server()->state(), export_options, std::move(edge));
}

}  // namespace blockexport::control
