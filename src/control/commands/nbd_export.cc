// Exports of the type "nbd".

#include "export/nbd/server/nbd_export.h"

#include <fmt/format.h>

#include "base/printable.h"
#include "control/commands/export.h"
#include "control/commands/export_types.h"
#include "control/core/authorizers.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

// The parameters of the export. Errors: no server, unknown iothreads, options that the server does not accept.
Result<nbd::NbdExportOptions> export_options(Control& control, const schema::BlockExportOptions& options) {
  TRY_ASSIGN(std::vector<aio::DataReactor*> reactors, find_iothreads(control, options));
  if (!control.servers().any()) return fail("NBD server not running");
  const auto& nbd = options.as<schema::BlockExportType::kNbd>();
  nbd::NbdExportOptions made{.common = {.id = options.id,
                                        .writable = options.writable.value_or(false),
                                        .writethrough = options.writethrough.value_or(false),
                                        .reactors = std::move(reactors)},
                             .name = nbd.name.value_or(options.node_name),
                             .description = nbd.description,
                             .allocation_depth = nbd.allocation_depth.value_or(false),
                             .bitmap_count = nbd.bitmaps ? nbd.bitmaps->size() : 0,
                             .tls_authz = nbd.tls_authz};
  TRY(nbd::NbdExport::check(control.servers().names(), control.servers().any_with_tls(), made));
  return made;
}

std::vector<block::BitmapReference> references(const std::vector<schema::BlockDirtyBitmapOrStr>& bitmaps) {
  std::vector<block::BitmapReference> list;
  for (const schema::BlockDirtyBitmapOrStr& bitmap : bitmaps) {
    if (bitmap.local() != nullptr) {
      list.push_back({.node = std::nullopt, .name = *bitmap.local()});
    } else {
      list.push_back({.node = bitmap.external()->node, .name = bitmap.external()->name});
    }
  }
  return list;
}

// The views of all servers may leave out an export.
void warn_of_unseen_export(const Control& control, const std::string& name) {
  for (const auto& [id, server] : control.servers().serving()) {
    if (server->state().has_export(name)) return;
  }
  control.log().warning(
      fmt::format("no NBD server shows the export '{}': its name is in the view of none", printable(name)));
}

// The same after a wait, in which things may have come or gone.
Result<nbd::NbdExportOptions> check_again(Control& control, const schema::BlockExportOptions& options) {
  TRY(check_export(control, options));
  return export_options(control, options);
}

}  // namespace

template <>
MadeExport make_export<schema::BlockExportType::kNbd>(Control& control, const schema::BlockExportOptions& options,
                                                      std::unique_ptr<block::Edge>& edge) {
  CO_TRY_ASSIGN(nbd::NbdExportOptions made, export_options(control, options));
  std::vector<block::HeldBitmap> bitmaps;
  if (made.bitmap_count > 0) {
    const auto& nbd = options.as<schema::BlockExportType::kNbd>();
    const bool is_read_only = !made.common.writable;
    CO_TRY_ASSIGN(bitmaps, co_await control.graph().hold(options.node_name, is_read_only, references(*nbd.bitmaps)));
    Result<nbd::NbdExportOptions> again = check_again(control, options);
    if (!again) {
      co_await control.graph().release(std::move(bitmaps));
      co_return fail(std::move(again).error());
    }
    made = std::move(*again);
  }
  if (made.tls_authz) warn_of_missing_authorizer(control.authorizers(), control.log(), *made.tls_authz);
  std::unique_ptr<exports::Export> result =
      std::make_unique<nbd::NbdExport>(control.servers().names(), made, std::move(edge), std::move(bitmaps));
  warn_of_unseen_export(control, made.name);
  co_return result;
}

}  // namespace blockexport::control
