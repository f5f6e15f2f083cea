#include "drivers/qcow2/qcow2_bitmaps.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "base/printable.h"
#include "block/bitmap/bitmap_list.h"
#include "drivers/qcow2/bitmaps/bitmap_clusters.h"
#include "drivers/qcow2/bitmaps/extension_change.h"
#include "drivers/qcow2/bitmaps/load_bitmap.h"
#include "drivers/qcow2/bitmaps/save_bitmap.h"
#include "drivers/qcow2/commit/header_fields.h"

namespace blockexport::drivers::qcow2 {

using block::BitmapList;
using block::DirtyBitmap;

namespace {

aio::Task<IoResult> write_bytes(block::Node& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  const iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  co_return co_await file.write({offset, bytes.size()}, {&vector, 1}, {.may_grow = true});
}

HostClusters clusters_of(const Geometry& geometry, std::uint64_t offset, std::uint64_t bytes) {
  return {geometry.cluster_of(offset), geometry.cluster_of(geometry.round_up(bytes))};
}

// Returns true if the format has space for such bits.
bool fits_format(const Geometry& geometry, std::uint64_t disk_bytes, unsigned granularity_bits) {
  return bitmap_bytes(disk_bytes, granularity_bits) <= kBitmapDataBytesMax &&
         bitmap_clusters(geometry, disk_bytes, granularity_bits) <= kBitmapTableEntriesMax;
}

// An image must not choose how much memory it takes.
Result<> check_total(std::size_t bitmaps, std::uint64_t bytes) {
  if (bitmaps <= Qcow2Bitmaps::kLoadedBitmapsMax && bytes <= Qcow2Bitmaps::kLoadedBytesMax) return {};
  return fail(Error(fmt::format("The image has more than {} bitmaps, or more than {} bytes of bitmaps",
                                Qcow2Bitmaps::kLoadedBitmapsMax, Qcow2Bitmaps::kLoadedBytesMax))
                  .with_hint("Remove some of them with 'qemu-img bitmap --remove'."));
}

}  // namespace

std::vector<StoredBitmap> Qcow2Bitmaps::directory() const {
  std::vector<StoredBitmap> bitmaps = image_.content().bitmaps;
  if (is_in_use_.load(std::memory_order_acquire)) {
    for (StoredBitmap& one : bitmaps) one.flags |= kBitmapInUse;
  }
  return bitmaps;
}

const StoredBitmap* Qcow2Bitmaps::find(std::string_view name) const {
  const std::vector<StoredBitmap>& bitmaps = image_.content().bitmaps;
  const auto found = std::ranges::find(bitmaps, name, &StoredBitmap::name);
  return found == bitmaps.end() ? nullptr : &*found;
}

Header Qcow2Bitmaps::expected(Header header) const {
  const std::uint64_t named = named_.load(std::memory_order_acquire);
  if (named == kUnknownSession) return header;
  header.autoclear_features = (header.autoclear_features & ~kAutoclearSession) | named << kAutoclearSessionShift;
  return header;
}

std::uint32_t Qcow2Bitmaps::session() const {
  return static_cast<std::uint32_t>(named_.load(std::memory_order_acquire));
}

void Qcow2Bitmaps::set_session(std::uint32_t session) {
  session_ = session;
  if (named_.load(std::memory_order_acquire) != session) image_.end_preparation();
}

aio::Task<Result<>> Qcow2Bitmaps::leave_session() {
  set_session(0);
  if (session() == 0) co_return Result<>();
  if (const IoResult left = co_await name_session(0); !left) {
    co_return fail(Error::system("Failed to update the header", left.error()));
  }
  co_return Result<>();
}

// Features that this program does not know are not kept up to date from now on. Thread: as mark_in_use().
aio::Task<IoResult> Qcow2Bitmaps::name_session(std::uint32_t session) {
  const Header& header = image_.content().header;
  if (header.version < 3) co_return IoResult();
  const std::uint64_t features = (header.autoclear_features & kAutoclearKnown) | std::uint64_t{session}
                                                                                     << kAutoclearSessionShift;
  const bool is_known = named_.load(std::memory_order_acquire) != kUnknownSession;
  if (is_known && features == expected(header).autoclear_features) co_return IoResult();
  named_.store(kUnknownSession, std::memory_order_release);
  CO_TRY(co_await write_autoclear_features(image_.image_file(), features));
  named_.store(session, std::memory_order_release);
  co_return IoResult();
}

aio::Task<Result<block::ImageIdentity>> Qcow2Bitmaps::identify_image() {
  if (image_.content().header.version < 3) co_return fail("Cannot store dirty bitmaps in qcow2 v2 files");
  CO_TRY_ASSIGN(block::ImageIdentity found, co_await image_.image_file().driver().identify());
  found.identity += "\nqcow2";
  block::Node* const data_file = image_.data_file();
  if (data_file == nullptr) co_return found;
  CO_TRY_ASSIGN(const block::ImageIdentity data, co_await data_file->driver().identify());
  found.identity += "\ndata " + data.identity;
  found.generation += "\ndata " + data.generation;
  co_return found;
}

aio::Task<IoResult> Qcow2Bitmaps::mark_in_use() {
  CO_TRY(co_await name_session(session_));
  is_used_ = true;
  const std::optional<BitmapsExtension> extension = image_.content().extensions.bitmaps(image_.content().header);
  if (!extension || image_.content().bitmaps.empty()) co_return IoResult();
  std::vector<StoredBitmap> marked = image_.content().bitmaps;
  for (StoredBitmap& one : marked) one.flags |= kBitmapInUse;
  if (marked != image_.content().bitmaps) {
    const std::vector<std::byte> bytes = encode_bitmap_directory(marked);
    CO_TRY(co_await write_bytes(image_.image_file(), extension->directory_offset, bytes));
    CO_TRY(co_await image_.image_file().flush());
  }
  is_in_use_.store(true, std::memory_order_release);
  co_return IoResult();
}

Result<std::vector<block::ImageBitmaps::Kept>> Qcow2Bitmaps::kept() const {
  const ImageContent& content = image_.content();
  std::vector<Kept> all;
  std::uint64_t bytes = 0;
  for (const StoredBitmap& one : content.bitmaps) {
    bytes += bitmap_bytes(content.header.disk_bytes(), one.granularity_bits);
    TRY(check_total(all.size() + 1, bytes));
    all.push_back({.name = one.name,
                   .granularity_bytes = std::uint32_t{1} << one.granularity_bits,
                   .is_enabled = (one.flags & kBitmapAuto) != 0,
                   .is_inconsistent = (one.flags & kBitmapInUse) != 0});
  }
  return all;
}

aio::Task<Result<>> Qcow2Bitmaps::load(std::string name, block::DirtyBits& bits) {
  const StoredBitmap* stored = find(name);
  if (stored == nullptr) co_return fail(fmt::format("The image has no bitmap '{}'", name));
  co_return co_await load_bitmap(image_.image_file(), image_.geometry(), *stored, bits);
}

aio::Task<Result<>> Qcow2Bitmaps::prepare_changes() {
  if (image_.is_prepared()) co_return Result<>();
  if (const IoResult prepared = co_await image_.prepare(); !prepared) {
    co_return fail(Error::system("Could not prepare the image for changes", prepared.error()));
  }
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Bitmaps::begin_use() {
  if (image_.content().bitmaps.empty() && session_ == 0) co_return Result<>();
  co_return co_await prepare_changes();
}

Result<> Qcow2Bitmaps::check_resize(const BitmapList& list, std::uint64_t size_bytes) const {
  std::size_t bitmaps = 0;
  std::uint64_t bytes = 0;
  for (const auto& bitmap : list.all()) {
    if (bitmap->keeper() != this) continue;
    ++bitmaps;
    bytes += bitmap_bytes(size_bytes, granularity_bits_of(std::as_const(*bitmap).bits()));
    // An export or a backup that uses a bitmap allows for a new size, as it does for a bitmap in memory.
    if (bitmap->is_busy() || find(bitmap->name()) == nullptr) continue;
    TRY(bitmap->check(DirtyBitmap::Use::kChange));
  }
  // Otherwise the image with its new size could not be opened again.
  return check_total(bitmaps, bytes);
}

Result<> Qcow2Bitmaps::check_addition(const BitmapList& list, const NewBitmap& bitmap) const {
  if (image_.content().header.version < 3) return fail("Cannot store dirty bitmaps in qcow2 v2 files");
  if (bitmap.name.size() > kBitmapNameBytesMax) {
    return fail(fmt::format("Name length exceeds maximum ({} characters)", kBitmapNameBytesMax));
  }
  const auto granularity_bits = static_cast<unsigned>(std::countr_zero(bitmap.granularity_bytes));
  if (!fits_format(image_.geometry(), bitmap.size_bytes, granularity_bits)) {
    return fail("Too much space will be occupied by the bitmap. Use larger granularity");
  }
  std::vector<StoredBitmap> all{{.name = std::string(bitmap.name)}};
  std::uint64_t bytes = bitmap_bytes(bitmap.size_bytes, granularity_bits);
  for (const auto& one : list.all()) {
    if (one->keeper() != this) continue;
    all.push_back({.name = one->name()});
    bytes += bitmap_bytes(bitmap.size_bytes, granularity_bits_of(std::as_const(*one).bits()));
  }
  if (all.size() > kBitmapsMax) return fail("Maximum number of persistent bitmaps is already reached");
  if (encode_bitmap_directory(all).size() > kBitmapDirectoryBytesMax) {
    return fail("Not enough space in the bitmap directory");
  }
  return check_total(all.size(), bytes);
}

aio::Task<Result<>> Qcow2Bitmaps::add(DirtyBitmap& bitmap) {
  CO_TRY(co_await prepare_changes());
  bitmap.set_keeper(this);
  co_return Result<>();
}

aio::Task<void> Qcow2Bitmaps::undo_add(DirtyBitmap& bitmap) {
  bitmap.set_keeper(nullptr);
  co_return;
}

bool Qcow2Bitmaps::is_stored_enabled(const DirtyBitmap& bitmap) const {
  const StoredBitmap* stored = find(bitmap.name());
  return stored != nullptr && (stored->flags & kBitmapAuto) != 0;
}

aio::Task<Result<>> Qcow2Bitmaps::remove(DirtyBitmap& bitmap) {
  const StoredBitmap* stored = find(bitmap.name());
  if (stored == nullptr) co_return Result<>();
  CO_TRY(co_await prepare_changes());
  Next next;
  next.dropped.push_back(*stored);
  for (const StoredBitmap& one : directory()) {
    if (one.name != bitmap.name()) next.bitmaps.push_back(one);
  }
  Result<> replaced = co_await replace(std::move(next));
  if (replaced) co_return replaced;
  const std::string name = printable(bitmap.name(), kBitmapNameBytesMax);
  co_return fail(std::move(replaced).error().with_prefix(fmt::format("Failed to remove bitmap '{}': ", name)));
}

aio::Task<Result<>> Qcow2Bitmaps::store(const BitmapList& list) {
  // Otherwise the image has the bitmaps as they are.
  if (image_.image_writer() == nullptr || (!image_.is_prepared() && !is_used_)) co_return Result<>();
  CO_TRY(co_await prepare_changes());
  CO_TRY(co_await store_all(list));
  is_used_ = false;
  // Both the image and the store have the bitmaps now. After an error the store goes on to have them.
  if (session_ != 0) (void)co_await name_session(0);
  // The next change of the image or of a bitmap begins their use again.
  image_.end_preparation();
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Bitmaps::store_all(const BitmapList& list) {
  const bool has_any = std::ranges::any_of(list.all(), [this](const auto& one) { return one->keeper() == this; });
  if (!has_any && image_.content().bitmaps.empty()) co_return Result<>();
  if (image_.image_writer()->is_corrupt()) co_return fail(Error::system("The image is corrupt", Errno(EIO)));
  Next next;
  const Result<> saved = co_await save_all(list, next);
  if (!saved) {
    co_await free_runs(std::move(next.taken));
    (void)co_await image_.image_writer()->flush();
    co_return fail(saved.error().clone());
  }
  CO_TRY(co_await replace(std::move(next)));
  is_in_use_.store(false, std::memory_order_release);
  co_return Result<>();
}

// In the order of the reference: those of the directory, then the others, the newest first.
aio::Task<Result<>> Qcow2Bitmaps::save_all(const BitmapList& list, Next& next) {
  for (const StoredBitmap& stored : directory()) {
    const DirtyBitmap* bitmap = list.find(stored.name);
    const bool is_ours = bitmap != nullptr && bitmap->keeper() == this;
    if (is_ours && bitmap->is_inconsistent()) {
      next.bitmaps.push_back(stored);
      continue;
    }
    next.dropped.push_back(stored);
    if (is_ours) CO_TRY(co_await save(*bitmap, next));
  }
  for (const auto& bitmap : list.all() | std::views::reverse) {
    if (bitmap->keeper() != this || bitmap->is_inconsistent() || find(bitmap->name()) != nullptr) continue;
    CO_TRY(co_await save(*bitmap, next));
  }
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Bitmaps::save(const DirtyBitmap& bitmap, Next& next) {
  const block::DirtyBits& bits = bitmap.bits();
  if (!fits_format(image_.geometry(), bits.size_bytes(), granularity_bits_of(bits))) {
    co_return fail(fmt::format("Bitmap '{}' doesn't satisfy the constraints", bitmap.name()));
  }
  CO_TRY_ASSIGN(StoredBitmap saved, co_await save_bitmap(image_.image_writer()->parts(), bitmap, next.taken));
  next.bitmaps.push_back(std::move(saved));
  co_return Result<>();
}

aio::Task<Result<>> Qcow2Bitmaps::replace(Next next) {
  const Geometry& geometry = image_.geometry();
  const std::optional<BitmapsExtension> before = image_.content().extensions.bitmaps(image_.content().header);
  std::optional<BitmapsExtension> after;
  if (const IoResult written = co_await write_directory(next, after); !written) {
    co_await free_runs(std::move(next.taken));
    (void)co_await image_.image_writer()->flush();
    co_return fail(Error::system("Failed to write the bitmap directory", written.error()));
  }
  // After a failure nobody knows which directory the header refers to, so the clusters of both stay.
  if (const IoResult referred = co_await refer_to(after); !referred) {
    co_return fail(Error::system("Failed to update the header", referred.error()));
  }
  image_.content().bitmaps = std::move(next.bitmaps);
  MetadataClusters& metadata = image_.image_writer()->parts().allocator.metadata();
  std::vector<HostClusters> unused;
  if (before) {
    unused.push_back(clusters_of(geometry, before->directory_offset, before->directory_bytes));
    const std::lock_guard lock(image_.image_writer()->parts().tables.mutex());
    for (std::uint64_t i = 0; i < unused.front().count; ++i) metadata.remove(unused.front().first + i);
  }
  if (after) {
    const HostClusters used = clusters_of(geometry, after->directory_offset, after->directory_bytes);
    const std::lock_guard lock(image_.image_writer()->parts().tables.mutex());
    for (std::uint64_t i = 0; i < used.count; ++i) metadata.add(used.first + i);
  }
  co_await free_runs(std::move(unused));
  for (const StoredBitmap& dropped : next.dropped) co_await free_bitmap(dropped);
  // A failure leaves clusters that are counted and not used.
  if (co_await image_.image_writer()->flush()) (void)co_await image_.image_file().flush();
  co_return Result<>();
}

aio::Task<IoResult> Qcow2Bitmaps::write_directory(Next& next, std::optional<BitmapsExtension>& extension) {
  ImageParts& parts = image_.image_writer()->parts();
  const Geometry& geometry = parts.geometry();
  if (!next.bitmaps.empty()) {
    const std::vector<std::byte> bytes = encode_bitmap_directory(next.bitmaps);
    if (bytes.size() > kBitmapDirectoryBytesMax) co_return fail(ENOSPC);
    CO_TRY_ASSIGN(const Allocated made,
                  co_await parts.allocator.allocate_exactly(geometry.cluster_of(geometry.round_up(bytes.size()))));
    next.taken.push_back(made.clusters);
    const std::uint64_t offset = made.clusters.first << geometry.cluster_bits;
    CO_TRY(co_await write_bytes(image_.image_file(), offset, bytes));
    extension = {.bitmaps = static_cast<std::uint32_t>(next.bitmaps.size()),
                 .directory_bytes = bytes.size(),
                 .directory_offset = offset};
  }
  // With the refcounts of all new clusters.
  CO_TRY(co_await image_.image_writer()->flush());
  co_return co_await image_.image_file().flush();
}

aio::Task<IoResult> Qcow2Bitmaps::refer_to(const std::optional<BitmapsExtension>& extension) {
  // Other parts of the program change fields of the header by themselves.
  const auto begin = co_await read_image_begin(image_.image_file(), HeaderUse::kReadWrite);
  if (!begin) co_return fail(EIO);
  CO_TRY_ASSIGN(const std::vector<HeaderWrite> writes,
                plan_bitmaps_extension(begin->first_cluster, begin->header, extension));
  for (const HeaderWrite& write : writes) {
    CO_TRY(co_await write_bytes(image_.image_file(), write.offset, write.bytes));
    CO_TRY(co_await image_.image_file().flush());
  }
  co_return co_await read_header_again();
}

aio::Task<IoResult> Qcow2Bitmaps::read_header_again() {
  const auto begin = co_await read_image_begin(image_.image_file(), HeaderUse::kReadWrite);
  if (!begin) co_return fail(EIO);
  auto extensions = parse_header_extensions(begin->header, begin->first_cluster);
  if (!extensions) co_return fail(EIO);
  image_.content().header.backing_name_offset = begin->header.backing_name_offset;
  image_.content().header.autoclear_features = begin->header.autoclear_features;
  image_.content().extensions = std::move(*extensions);
  co_return IoResult();
}

aio::Task<void> Qcow2Bitmaps::free_bitmap(StoredBitmap bitmap) {
  const Geometry& geometry = image_.geometry();
  for (std::uint64_t first = 0; first < bitmap.table_entries;) {
    const auto entries = co_await read_bitmap_table(image_.image_file(), geometry, bitmap, first);
    if (!entries) co_return;
    for (const std::uint64_t entry : *entries) {
      const std::uint64_t offset = entry & kBitmapEntryOffsetMask;
      if (offset != 0) co_await free_run({geometry.cluster_of(offset), 1});
    }
    first += entries->size();
  }
  co_await free_run(clusters_of(geometry, bitmap.table_offset, bitmap.table_entries * sizeof(std::uint64_t)));
}

aio::Task<void> Qcow2Bitmaps::free_runs(std::vector<HostClusters> runs) {
  for (const HostClusters run : runs) co_await free_run(run);
}

// An image may be wrong: clusters that nobody counts, and metadata, are left alone.
aio::Task<void> Qcow2Bitmaps::free_run(HostClusters run) {
  Allocator& allocator = image_.image_writer()->parts().allocator;
  for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
    if (cluster >= kHostOffsetLimit >> image_.geometry().cluster_bits) continue;
    const auto refcount = co_await allocator.refcount(cluster);
    if (!refcount || *refcount == 0) continue;
    const std::lock_guard lock(image_.image_writer()->parts().tables.mutex());
    if (!allocator.metadata().contains(cluster, 1)) allocator.free({.clusters = {cluster, 1}});
  }
}

}  // namespace blockexport::drivers::qcow2
