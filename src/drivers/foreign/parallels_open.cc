#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/format/parallels_format.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/opened_file.h"

namespace blockexport::drivers::foreign {

aio::Task<OpenedMapped> open_parallels(const schema::BlockdevOptionsGenericFormat& options,
                                       block::ChildOpener& children) {
  constexpr std::uint32_t kSectorBytes = 512;
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file, co_await open_file(options.file, children));
  const auto bytes = co_await read_bytes(file->node(), 0, kParallelsHeaderBytes);
  if (!bytes) co_return fail(could_not_open(*file, bytes.error()));
  CO_TRY_ASSIGN(const ParallelsHeader header, parse_parallels_header(*bytes));
  if (header.extension_offset != 0) {
    const auto extension = co_await read_bytes(file->node(), header.extension_offset, kParallelsExtensionMagicBytes);
    if (!extension) co_return fail(could_not_open(*file, extension.error()));
    CO_TRY(check_parallels_extension(*extension));
  }
  MappedImage image{
      .format_name = "parallels", .extents = {}, .request_alignment = kSectorBytes, .shows_dirty_flag = false};
  if (header.disk_bytes != 0) {
    image.extents.push_back({.range = {0, header.disk_bytes}, .file = file.get(), .table = header.table()});
  }
  image.files.push_back(std::move(file));
  co_return std::make_unique<MappedDriver>(std::move(image));
}

}  // namespace blockexport::drivers::foreign
