// Qcow2Driver: another name of the backing file in the image.
#include "drivers/qcow2/create/backing_change.h"
#include "drivers/qcow2/qcow2_driver.h"

namespace blockexport::drivers::qcow2 {

aio::Task<IoResult> Qcow2Driver::change_backing_name(std::string name, std::string_view format) {
  if (writer_ == nullptr) co_return fail(EPERM);
  // The writer changes fields of the header by itself, so what was read at the opening is old.
  auto begin = co_await read_image_begin(file(), HeaderUse::kReadWrite);
  if (!begin) co_return fail(EIO);
  auto writes = plan_backing_change(begin->first_cluster, name, format);
  if (!writes) co_return fail(writes.error());
  for (const HeaderWrite& write : *writes) {
    const iovec vector{const_cast<std::byte*>(write.bytes.data()), write.bytes.size()};
    CO_TRY(co_await file().write({write.offset, write.bytes.size()}, std::span(&vector, 1), {}));
    CO_TRY(co_await file().flush());
  }
  begin = co_await read_image_begin(file(), HeaderUse::kReadWrite);
  if (!begin) co_return fail(EIO);
  auto extensions = parse_header_extensions(begin->header, begin->first_cluster);
  if (!extensions) co_return fail(EIO);
  image_.header.backing_name_offset = begin->header.backing_name_offset;
  image_.header.backing_name_bytes = begin->header.backing_name_bytes;
  image_.extensions = std::move(*extensions);
  image_.backing_name.reset();
  if (!name.empty()) image_.backing_name = std::move(name);
  co_return IoResult();
}

}  // namespace blockexport::drivers::qcow2
