#include "block/node_store.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "aio/threads/data_reactor.h"
#include "base/absolute_path.h"
#include "base/log.h"
#include "block/bitmap/bitmap_list.h"
#include "block/bitmap/dirty_bitmap.h"
#include "block/image_bitmaps.h"

namespace blockexport::block {
namespace {

constexpr auto kLargestBytes = static_cast<std::uint64_t>(INT64_MAX);

// `session`: nullopt for an image without sessions.
BitmapStore::Image image_of(const ImageIdentity& identity, const Driver& driver, std::optional<std::uint32_t> session) {
  return {.identity = identity.identity,
          .size_bytes = driver.size_bytes(),
          .generation = session ? std::string() : identity.generation,
          .session = session};
}

// By chance, because a store that was copied or kept must not fit a later session of its image.
std::uint32_t other_session(std::uint32_t session) {
  std::uint32_t drawn = 0;
  const bool is_drawn = ::getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn);
  if (!is_drawn || drawn == session) drawn = session + 1;
  return drawn == 0 ? 1 : drawn;
}

}  // namespace

Result<std::uint64_t> NodeStore::checkpoint_interval_ns(const schema::BlockdevBitmapStore& options) {
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  if (!options.checkpoint_interval_seconds) return BitmapStore::kCheckpointIntervalNs;
  const std::uint64_t seconds = *options.checkpoint_interval_seconds;
  if (seconds == 0 || seconds > kCheckpointIntervalSecondsMax) {
    return fail(fmt::format("checkpoint-interval-seconds must be from 1 to {}", kCheckpointIntervalSecondsMax));
  }
  return seconds * kSecondNs;
}

NodeStore::NodeStore(Environment environment, std::unique_ptr<BitmapStore> store, Driver& driver, ImageIdentity image,
                     std::uint32_t session)
    : control_(environment.control),
      log_(environment.log),
      store_(std::move(store)),
      driver_(driver),
      beside_(driver.image_bitmaps()),
      image_(std::move(image)),
      session_(session),
      is_active_(beside_ == nullptr || store_->has_session()),
      size_bytes_max_(store_->expected_bytes_max()),
      growths_(environment.control) {}

NodeStore::~NodeStore() = default;

aio::Task<Result<std::unique_ptr<NodeStore>>> NodeStore::open(Environment environment,
                                                              schema::BlockdevBitmapStore options, Driver& driver) {
  if (options.filename.empty()) co_return fail("A bitmap store requires a file name");
  ImageBitmaps* const beside = driver.image_bitmaps();
  aio::Task<Result<ImageIdentity>> identifying = beside != nullptr ? beside->identify_image() : driver.identify();
  CO_TRY_ASSIGN(ImageIdentity identity, co_await std::move(identifying));
  const std::uint32_t session = beside != nullptr ? beside->session() : 0;
  BitmapStore::Image image = image_of(identity, driver, beside != nullptr ? std::optional(session) : std::nullopt);
  std::string path = absolute_path(options.filename);
  CO_TRY_ASSIGN(const std::uint64_t interval_ns, checkpoint_interval_ns(options));
  const bool may_create = options.create.value_or(true);
  auto opening = may_create ? BitmapStore::open_or_create(environment.control, std::move(path), std::move(image))
                            : BitmapStore::open(environment.control, std::move(path), std::move(image));
  CO_TRY_ASSIGN(std::unique_ptr<BitmapStore> store, co_await std::move(opening));
  std::unique_ptr<NodeStore> opened(new NodeStore(environment, std::move(store), driver, std::move(identity), session));
  opened->interval_ns_ = interval_ns;
  opened->report_at_opening();
  co_return std::move(opened);
}

aio::Task<Result<ImageIdentity>> NodeStore::identify() {
  return beside_ != nullptr ? beside_->identify_image() : driver_.identify();
}

aio::Task<Result<>> NodeStore::begin_session(const BitmapList& list) {
  if (is_active_) co_return Result<>();
  const std::uint32_t session = other_session(session_);
  CO_TRY(co_await store_->begin_session(image_of(image_, driver_, session)));
  for (const auto& bitmap : list.all()) {
    if (bitmap->keeper() != beside_ || bitmap->is_inconsistent()) continue;
    CO_TRY(co_await store_->add(bitmap->name(), bitmap->bits(), bitmap->is_enabled()));
  }
  session_ = session;
  is_active_ = true;
  reported_.reset();
  note_bitmaps();
  size_bytes_max_.store(store_->expected_bytes_max(), std::memory_order_relaxed);
  co_return Result<>();
}

void NodeStore::report_at_opening() {
  if (beside_ != nullptr) {
    report_session();
    return;
  }
  if (!store_->is_inconsistent()) return;
  reported_ = store_->failure();
  if (log_ == nullptr) return;
  log_->warning(
      fmt::format("Bitmap store '{}' is inconsistent: {}. Its bitmaps can only be removed; make a full backup.", path(),
                  errno_text(reported_.value_or(Errno(EIO)))));
}

// The bitmaps of an image that crashed.
void NodeStore::report_session() {
  if (log_ == nullptr) return;
  if (is_active_) {
    log_->info(
        fmt::format("Bitmap store '{}': the image was not closed; its bitmaps are restored, with {} regions of "
                    "{} bytes that were changed last",
                    path(), store_->recovery().dirty_regions, store_->region_bytes()));
    return;
  }
  const Result<std::vector<ImageBitmaps::Kept>> kept = beside_->kept();
  reported_ = store_->failure();
  if (!kept || std::ranges::none_of(*kept, &ImageBitmaps::Kept::is_inconsistent)) return;
  const std::string reason = store_->is_inconsistent() ? fmt::format("it could not record changes: {}",
                                                                     errno_text(store_->failure().value_or(Errno(EIO))))
                                                       : std::string("it did not record the last changes of the image");
  log_->warning(
      fmt::format("Bitmap store '{}' cannot restore the bitmaps of its image that were in use: {}. Remove them, and "
                  "make a full backup.",
                  path(), reason));
}

aio::Task<Result<>> NodeStore::load(const StoredBitmap& stored, DirtyBitmap& bitmap) {
  set_keeper(bitmap, true);
  bitmap.set_enabled(stored.is_enabled);
  if (store_->is_inconsistent()) {
    bitmap.make_inconsistent();
    co_return Result<>();
  }
  co_return co_await store_->load(stored.name, bitmap.bits());
}

aio::Task<Result<>> NodeStore::finish_loading() {
  if (!has_size(driver_.size_bytes())) CO_TRY(co_await adopt_size(driver_.size_bytes()));
  note_bitmaps();
  co_return Result<>();
}

aio::Task<Result<>> NodeStore::confirm() {
  CO_TRY_ASSIGN(const ImageIdentity now, co_await identify());
  if (now == image_) co_return Result<>();
  co_return fail(
      Error(fmt::format("Bitmap store '{}' cannot be used: the image was changed while it was opened", path()))
          .with_hint("Try again when no other program writes the image."));
}

void NodeStore::start() {
  if (!is_active_) return;
  checkpoints_.emplace(control_);
  checkpoints_->spawn("bitmap store checkpoints", store_->checkpoint_regularly(interval_ns_));
  checkpoints_->spawn("bitmap store reports", report_regularly());
}

aio::Task<void> NodeStore::stop() {
  if (!checkpoints_) co_return;
  checkpoints_->cancel();
  co_await checkpoints_->join();
  checkpoints_.reset();
}

aio::Task<void> NodeStore::close() {
  co_await stop();
  report();
  if (beside_ != nullptr) {
    co_await close_beside();
    co_return;
  }
  if (store_->is_inconsistent()) co_return;
  (void)co_await adopt_size(driver_.size_bytes());
  Result<ImageIdentity> image = co_await driver_.identify();
  // Without the generation of the image the store stays as after a crash, with the bits of this moment.
  if (!image || image->identity != image_.identity) {
    (void)co_await store_->checkpoint();
    co_return;
  }
  const Result<> closed = co_await store_->close(std::move(image->generation));
  if (!closed && log_ != nullptr) log_->warning(closed.error().message());
}

aio::Task<void> NodeStore::close_beside() {
  if (!is_active_) co_return;
  if (beside_->session() == 0) {
    // The image has its bitmaps, or was never changed.
    const Result<> ended = co_await store_->end_session();
    if (!ended && log_ != nullptr) log_->warning(ended.error().message());
    co_return;
  }
  if (store_->is_inconsistent()) co_return;
  (void)co_await adopt_size(driver_.size_bytes());
  const IoResult stored = co_await store_->checkpoint(RegionIntents::Retire::kAll);
  if (stored || log_ == nullptr) co_return;
  log_->warning(
      fmt::format("Bitmap store '{}' could not be updated: {}. The regions that were written last will be dirty.",
                  path(), errno_text(stored.error())));
}

aio::Task<void> NodeStore::report_regularly() {
  while (co_await control_.sleep_until(control_.now_ns() + interval_ns_)) report();
}

void NodeStore::report() {
  const bool is_lost = store_->is_inconsistent();
  const std::optional<Errno> failure = is_lost ? store_->failure() : store_->checkpoint_error();
  if (failure == reported_ || log_ == nullptr) return;
  reported_ = failure;
  if (!failure) {
    log_->info(fmt::format("Bitmap store '{}': bits are stored again", path()));
  } else if (is_lost) {
    const std::string_view advice = beside_ != nullptr ? "A crash would make the bitmaps of its image inconsistent."
                                                       : "Its bitmaps are valid until the node is closed; make a full "
                                                         "backup.";
    log_->warning(fmt::format("Bitmap store '{}' cannot record changes: {}. {}", path(), errno_text(*failure), advice));
  } else {
    log_->warning(
        fmt::format("Bitmap store '{}' could not be updated: {}. It is tried again.", path(), errno_text(*failure)));
  }
}

aio::Task<Result<>> NodeStore::add(DirtyBitmap& bitmap) {
  CO_TRY(co_await store_->add(bitmap.name(), bitmap.bits(), bitmap.is_enabled()));
  set_keeper(bitmap, true);
  note_bitmaps();
  co_return Result<>();
}

aio::Task<Result<>> NodeStore::set_enabled(DirtyBitmap& bitmap, bool is_enabled) {
  // The bits in memory are right as long as the daemon lives, and the store keeps none any more.
  if (store_->is_inconsistent()) co_return Result<>();
  co_return co_await store_->set_enabled(bitmap.name(), is_enabled);
}

bool NodeStore::is_stored_enabled(const DirtyBitmap& bitmap) const {
  const auto found = std::ranges::find(store_->bitmaps(), bitmap.name(), &StoredBitmap::name);
  return found != store_->bitmaps().end() && found->is_enabled;
}

bool NodeStore::has(const DirtyBitmap& bitmap) const {
  return std::ranges::find(store_->bitmaps(), bitmap.name(), &StoredBitmap::name) != store_->bitmaps().end();
}

aio::Task<Result<>> NodeStore::remove(DirtyBitmap& bitmap) {
  Result<> removed = co_await store_->remove(bitmap.name());
  co_await finish_removal(bitmap, std::move(removed));
  co_return Result<>();
}

aio::Task<void> NodeStore::undo_add(DirtyBitmap& bitmap) {
  Result<> removed = co_await store_->undo_add(bitmap.name());
  co_await finish_removal(bitmap, std::move(removed));
}

aio::Task<void> NodeStore::finish_removal(DirtyBitmap& bitmap, Result<> removed) {
  if (!removed) co_await store_->abandon(Errno(EIO), &bitmap.bits());
  set_keeper(bitmap, false);
  note_bitmaps();
}

void NodeStore::set_keeper(DirtyBitmap& bitmap, bool is_kept) {
  if (beside_ == nullptr) bitmap.set_keeper(is_kept ? this : nullptr);
}

aio::Task<void> NodeStore::store_bits() {
  if (store_->is_inconsistent()) co_return;
  if (IoResult stored = co_await store_->checkpoint(); !stored) co_await store_->abandon(stored.error(), nullptr);
}

aio::Task<Result<>> NodeStore::adopt_size(std::uint64_t size_bytes) {
  if (!is_active_) co_return Result<>();
  Result<> resized = co_await store_->resize(size_bytes);
  size_bytes_max_.store(store_->expected_bytes_max(), std::memory_order_relaxed);
  co_return resized;
}

aio::Task<void> NodeStore::check_image() {
  if (!is_active_) co_return;
  const Result<ImageIdentity> now = co_await identify();
  if (!now || now->identity != image_.identity) co_await store_->abandon(Errno(ESTALE), nullptr);
}

void NodeStore::note_bitmaps() {
  is_recording_ = is_active_ && !store_->bitmaps().empty();
}

aio::Task<IoResult> NodeStore::before_change(Change change) {
  if (!is_recording_) co_return IoResult();
  if (change.kind == ChangeKind::kResize || grows(change)) {
    co_await aio::run_on(control_, growths_, "size of a bitmap store", expect_size(change));
  }
  co_return co_await store_->before_change(change.range);
}

aio::Task<void> NodeStore::expect_size(Change change) {
  const bool is_resize = change.kind == ChangeKind::kResize;
  const std::uint64_t bytes_min = is_resize ? change.range.offset : store_->image_bytes();
  // Requests make an image larger again and again, so this expects every larger size at once.
  const std::uint64_t bytes_max = grows(change) ? kLargestBytes : change.range.end();
  if (IoResult expected = co_await store_->expect_sizes(bytes_min, bytes_max); !expected) {
    co_await store_->abandon(expected.error(), nullptr);
  }
  size_bytes_max_.store(store_->expected_bytes_max(), std::memory_order_relaxed);
}

}  // namespace blockexport::block
