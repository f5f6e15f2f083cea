#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/format/vdi_format.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/opened_file.h"

namespace blockexport::drivers::foreign {

aio::Task<OpenedMapped> open_vdi(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file, co_await open_file(options.file, children));
  const auto bytes = co_await read_bytes(file->node(), 0, kVdiHeaderBytes);
  if (!bytes) co_return fail(could_not_open(*file, bytes.error()));
  CO_TRY_ASSIGN(const VdiHeader header, parse_vdi_header(*bytes));
  MappedImage image{.format_name = "vdi", .extents = {}, .cluster_bytes = kVdiBlockBytes};
  if (header.disk_bytes != 0) {
    image.extents.push_back({.range = {0, header.disk_bytes},
                             .file = file.get(),
                             .table = header.table(),
                             .file_has_holes = header.is_static});
  }
  image.files.push_back(std::move(file));
  co_return std::make_unique<MappedDriver>(std::move(image));
}

}  // namespace blockexport::drivers::foreign
