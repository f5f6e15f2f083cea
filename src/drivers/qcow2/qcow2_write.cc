// Qcow2Driver: writing. The work is the ImageWriter's.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "drivers/qcow2/commit/header_fields.h"
#include "drivers/qcow2/qcow2_driver.h"
#include "drivers/qcow2/write/load_metadata.h"

namespace blockexport::drivers::qcow2 {

using block::IoBuffers;
using block::Range;

namespace {

// Fails for an image that writes here would damage.
Result<> check_writable(const ImageContent& image) {
  if (image.header.is_dirty()) {
    return fail(Error("qcow2: The image was not closed cleanly, and its refcounts may be wrong")
                    .with_hint("Repair it with 'qemu-img check -r all', or open it with read-only=on."));
  }
  // Such a bitmap is valid only as long as every write is recorded in it.
  const auto records = [](const StoredBitmap& bitmap) { return (bitmap.flags & kBitmapAuto) != 0; };
  const auto recording = std::ranges::find_if(image.bitmaps, records);
  if (recording != image.bitmaps.end()) {
    return fail(Error(fmt::format("qcow2: The image has the dirty bitmap '{}', which records changes, and bitmaps in "
                                  "images are not built: a write would make it wrong",
                                  printable(recording->name, kBitmapNameBytesMax)))
                    .with_hint("Open it with read-only=on, or disable the bitmap with 'qemu-img bitmap --disable'."));
  }
  return {};
}

}  // namespace

WritePolicy Qcow2Driver::policy_of(const ImageContent& image, const Qcow2Options& options) const {
  return {.pass_discard_request = options.pass_discard_request,
          .pass_discard_other = options.pass_discard_other,
          .discard_no_unref = options.discard_no_unref,
          .raw_data_file = image.header.has_raw_data_file()};
}

aio::Task<Result<std::unique_ptr<ImageWriter>>> Qcow2Driver::make_writer(const ImageContent& image, ImageTables& tables,
                                                                         const Qcow2CacheSizes& sizes,
                                                                         const Qcow2Options& options) {
  CO_TRY(check_writable(image));
  const std::size_t blocks = static_cast<std::size_t>(sizes.refcount_bytes >> image.header.cluster_bits);
  CO_TRY_ASSIGN(ImageWriter::Image loaded,
                co_await load_image_for_writing(image.header, image.extensions, image.l1, file(), blocks));
  // Features that this program does not know are not kept up to date from now on.
  if (const std::uint64_t known = image.header.autoclear_features & kAutoclearKnown;
      known != image.header.autoclear_features) {
    if (const IoResult cleared = co_await write_autoclear_features(file(), known); !cleared) {
      co_return fail(Error::system("Could not update qcow2 header", cleared.error()));
    }
  }
  co_return std::make_unique<ImageWriter>(std::move(loaded), tables, pins_, static_cast<GuestReader&>(*this), *file_,
                                          data_file_.get(), policy_of(image, options));
}

aio::Task<Result<>> Qcow2Driver::begin_writing() {
  std::vector<std::uint64_t> l1(tables_->l1_size());
  for (std::size_t i = 0; i < l1.size(); ++i) l1[i] = tables_->l1_entry(i);
  image_.l1 = std::move(l1);
  CO_TRY_ASSIGN(writer_, co_await make_writer(image_, *tables_, sizes_, options_));
  image_.l1 = {};
  co_return Result<>();
}

bool Qcow2Driver::owes_flush() const {
  return (writer_ != nullptr && writer_->owes_flush()) || Driver::owes_flush();
}

IoResult Qcow2Driver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::WriteHints& hints) {
  return writer_->try_write(reactor, range, buffers, hints);
}

aio::Task<IoResult> Qcow2Driver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  co_return co_await after_change(co_await writer_->write(range, buffers, options));
}

aio::Task<IoResult> Qcow2Driver::write_zeroes(Range range, block::ZeroOptions options) {
  co_return co_await after_change(co_await writer_->write_zeroes(range, options));
}

aio::Task<IoResult> Qcow2Driver::discard(Range range) {
  co_return co_await after_change(co_await writer_->discard(range));
}

aio::Task<IoResult> Qcow2Driver::after_change(IoResult result) {
  if (result || !writer_->is_corrupt() || marked_corrupt_.exchange(true)) co_return result;
  corruption_.note(file().driver().filename(), "a write or an allocation would overwrite metadata");
  // Version 2 has no such mark.
  if (image_.header.version >= 3) {
    (void)co_await write_incompatible_features(file(), image_.header.incompatible_features | kIncompatibleCorrupt);
  }
  co_return result;
}

}  // namespace blockexport::drivers::qcow2
