// Qcow2Driver: writing. The work is the ImageWriter's.
#include <algorithm>
#include <utility>

#include "aio/task/current.h"
#include "drivers/qcow2/commit/header_fields.h"
#include "drivers/qcow2/file/table_turns.h"
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
                    .with_hint("Remove the node and add it again for writing: that repairs the image."));
  }
  if (image.header.encryption_method == kEncryptionAes) {
    return fail(Error("qcow2: Images that are encrypted with AES-CBC are not written")
                    .with_hint("Open it read-only, and copy it to an image that is encrypted with LUKS."));
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
  co_return std::make_unique<ImageWriter>(std::move(loaded), tables, pins_, static_cast<GuestReader&>(*this), *file_,
                                          data_file_.get(), policy_of(image, options), encryption_.get());
}

aio::Task<Result<>> Qcow2Driver::begin_writing() {
  co_await aio::next_turn();
  std::vector<std::uint64_t> l1(tables_->l1_size());
  for (std::size_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    l1[i] = tables_->l1_entry(i);
  }
  image_.l1 = std::move(l1);
  CO_TRY_ASSIGN(writer_, co_await make_writer(image_, *tables_, sizes_, options_));
  image_.l1 = {};
  co_return Result<>();
}

bool Qcow2Driver::owes_flush() const {
  return (writer_ != nullptr && writer_->owes_flush()) || Driver::owes_flush();
}

// The opening reads the image before the graph takes the locks of its file, so another process may have written it
// until then. Whoever writes it from now on finds the locks.
aio::Task<std::expected<bool, Errno>> Qcow2Driver::is_as_opened() {
  Result<ImageBegin> begin = co_await read_image_begin(file(), HeaderUse::kReadWrite);
  if (!begin) co_return false;
  Result<ImageContent> now = co_await read_image(file(), std::move(*begin));
  if (!now || now->header != bitmaps_.expected(image_.header) || now->extensions != image_.extensions) co_return false;
  if (now->bitmaps != image_.bitmaps) co_return false;
  for (std::size_t i = 0; i < now->l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    if (now->l1[i] != tables_->l1_entry(i)) co_return false;
  }
  const Result<ImageWriter::Image> loaded =
      co_await load_image_for_writing(now->header, now->extensions, now->l1, file(), 0);
  if (!loaded) co_return false;
  const std::lock_guard lock(tables_->mutex());
  const Refcounts& refcounts = writer_->parts().allocator.refcounts();
  for (std::size_t i = 0; i < loaded->refcount_table.size(); ++i) {
    if (loaded->refcount_table[i] != refcounts.block_offset(i)) co_return false;
  }
  co_return true;
}

aio::Task<IoResult> Qcow2Driver::prepare_first_change() {
  aio::Reactor& reactor = co_await aio::current_reactor();
  block::RangeLock::Hold hold(first_change_, reactor, {0, 1}, block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  if (may_change()) co_return IoResult();
  if (writer_->is_corrupt()) co_return fail(EIO);
  if (!is_verified_) {
    CO_TRY_ASSIGN(is_verified_, co_await is_as_opened());
  }
  if (!is_verified_) {
    writer_->stop();
    corruption_.tell_changed(file().driver().filename());
    co_return fail(EIO);
  }
  CO_TRY(co_await bitmaps_.mark_in_use());
  may_change_.store(true, std::memory_order_release);
  co_return IoResult();
}

IoResult Qcow2Driver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  if (!may_change()) return fail(EAGAIN);
  return writer_->try_write(reactor, range, buffers, hints);
}

aio::Task<IoResult> Qcow2Driver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (!may_change()) CO_TRY(co_await prepare_first_change());
  co_return co_await after_change(co_await writer_->write(range, buffers, options));
}

aio::Task<IoResult> Qcow2Driver::write_zeroes(Range range, block::ZeroOptions options) {
  if (!may_change()) CO_TRY(co_await prepare_first_change());
  co_return co_await after_change(co_await writer_->write_zeroes(range, options));
}

aio::Task<IoResult> Qcow2Driver::discard(Range range) {
  if (!may_change()) CO_TRY(co_await prepare_first_change());
  co_return co_await after_change(co_await writer_->discard(range));
}

aio::Task<IoResult> Qcow2Driver::after_change(IoResult result) {
  if (!result && writer_->is_corrupt()) {
    co_await report_corruption("A write or an allocation would overwrite metadata", writer_->refused_place());
  }
  co_return result;
}

aio::Task<void> Qcow2Driver::report_corruption(std::string message, std::optional<Range> place) {
  const bool is_fatal = writer_ != nullptr;
  if (is_fatal) writer_->stop();
  if (has_reported_.exchange(true)) co_return;
  const block::Node* const node = file_->parent().node;  // null while the node is being opened
  corruption_.tell(file().driver().filename(), {.node_name = node != nullptr ? node->name() : "",
                                                .message = std::move(message),
                                                .place = place,
                                                .is_fatal = is_fatal});
  // Version 2 has no such mark.
  if (!is_fatal || image_.header.version < 3) co_return;
  (void)co_await write_incompatible_features(file(), image_.header.incompatible_features | kIncompatibleCorrupt);
}

}  // namespace blockexport::drivers::qcow2
