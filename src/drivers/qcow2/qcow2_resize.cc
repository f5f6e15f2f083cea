// Qcow2Driver: a new size of the disk.
#include <algorithm>

#include "drivers/qcow2/qcow2_driver.h"
#include "drivers/qcow2/write/image_resize.h"

namespace blockexport::drivers::qcow2 {
namespace {

DiskFields fields_of(const Header& header) {
  return {.disk_bytes = header.size_bytes,
          .encryption_method = header.encryption_method,
          .l1_entries = header.l1_entries,
          .l1_offset = header.l1_offset};
}

void set_fields(Header& header, const DiskFields& fields) {
  header.size_bytes = fields.disk_bytes;
  header.l1_entries = fields.l1_entries;
  header.l1_offset = fields.l1_offset;
}

}  // namespace

aio::Task<Result<>> Qcow2Driver::resize(std::uint64_t size_bytes) {
  if (size_bytes % kSectorBytes != 0) co_return fail("The new size must be a multiple of 512");
  if (writer_ == nullptr) co_return fail("The image is read-only");
  // A snapshot of version 2 has no size of its own.
  if (image_.header.snapshots != 0 && image_.header.version < 3) {
    co_return fail("Can't resize a v2 image which has snapshots");
  }
  if (size_bytes == this->size_bytes()) co_return Result<>();
  if (!may_change()) {
    if (const IoResult prepared = co_await prepare_first_change(); !prepared) {
      co_return fail(Error::system("Could not prepare the image for changes", prepared.error()));
    }
  }
  // A raw data file has the size of the disk. It is never the shorter one.
  const bool has_raw_data = data_file_ != nullptr && image_.header.has_raw_data_file();
  if (has_raw_data && size_bytes > this->size_bytes()) CO_TRY(co_await data_file_->node().resize(size_bytes));
  if (size_bytes > this->size_bytes()) {
    CO_TRY(co_await grow_disk(size_bytes));
  } else {
    CO_TRY(co_await shrink_disk(size_bytes));
  }
  if (has_raw_data && size_bytes < data_file_->node().size_bytes()) {
    CO_TRY(co_await data_file_->node().resize(size_bytes));
  }
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Driver::grow_disk(std::uint64_t size_bytes) {
  ImageParts& parts = writer_->parts();
  DiskFields fields = fields_of(image_.header);
  if (const IoResult grown = co_await grow_l1_table(parts, size_bytes, fields); !grown) {
    co_return fail(Error::system("Failed to grow the L1 table", grown.error()));
  }
  set_fields(image_.header, fields);
  const std::uint64_t old_bytes = this->size_bytes();
  size_bytes_.store(size_bytes, std::memory_order_release);
  const std::uint64_t backing_bytes = backing_ != nullptr ? backing_->node().size_bytes() : 0;
  IoResult result =
      co_await zero_new_bytes(parts, writer_->policy(), {old_bytes, size_bytes - old_bytes}, backing_bytes);
  if (!result) result = block::after_a_change(result);
  if (result) result = co_await writer_->flush();
  fields.disk_bytes = size_bytes;
  if (result) result = co_await write_disk_fields(file(), fields);
  if (!result) {
    size_bytes_.store(old_bytes, std::memory_order_release);
    co_return fail(Error::system("Failed to zero out the new area, or to update the image size", result.error()));
  }
  set_fields(image_.header, fields);
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Driver::shrink_disk(std::uint64_t size_bytes) {
  if (const IoResult cleared = co_await forget_behind(writer_->parts(), writer_->policy(), size_bytes); !cleared) {
    co_return fail(Error::system("Failed to discard cropped clusters", cleared.error()));
  }
  DiskFields fields = fields_of(image_.header);
  fields.disk_bytes = size_bytes;
  if (const IoResult written = co_await write_disk_fields(file(), fields); !written) {
    co_return fail(Error::system("Failed to update the image size", written.error()));
  }
  set_fields(image_.header, fields);
  size_bytes_.store(size_bytes, std::memory_order_release);
  co_return Result<>();
}

}  // namespace blockexport::drivers::qcow2
