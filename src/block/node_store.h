// NodeStore: the bitmap store of one node: it loads the persistent bitmaps, records the changes of the node, makes
// checkpoints at intervals, and closes the store (docs/bitmap-store.md).
//
// If the driver keeps bitmaps in its image (block/image_bitmaps.h), they stay the image's. Then the store stands beside
// them: it has the same bitmaps during a session, from before the first change of the image until the image has them.
//
// Owned by the NodeBitmaps of the node, whose driver outlives it. Thread: *_change() on any reactor; everything else on
// the control reactor, and all but the queries as steps of a change of the graph, while the node is quiesced. Steps may
// be undone, so they pause the checkpoints from the first step that touches a bit to the end of the change.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "aio/task/task.h"
#include "base/error.h"
#include "block/bitmap_keeper.h"
#include "block/bitmap_store/bitmap_store.h"
#include "block/change_listener.h"
#include "block/driver.h"
#include "schema/block_core.h"

namespace blockexport {
class Log;
}

namespace blockexport::block {

class BitmapList;
class ImageBitmaps;

class NodeStore final : public BitmapKeeper {
 public:
  static constexpr std::uint64_t kCheckpointIntervalSecondsMax = 86'400;

  // Both outlive the store. `log`: gets a warning when the store cannot record changes or store bits; may be null.
  struct Environment {
    aio::Reactor& control;
    const Log* log = nullptr;
  };

  // The interval between checkpoints that `options` say, in nanoseconds.
  static Result<std::uint64_t> checkpoint_interval_ns(const schema::BlockdevBitmapStore& options);
  void set_checkpoint_interval_ns(std::uint64_t interval_ns) { interval_ns_ = interval_ns; }

  // Opens the store that `options` name for the image of `driver`, or makes it. It does not record changes before
  // finish_loading(), or begin_session(). Errors are for users.
  static aio::Task<Result<std::unique_ptr<NodeStore>>> open(Environment environment,
                                                            schema::BlockdevBitmapStore options, Driver& driver);
  // After stop() or close(), or without start().
  ~NodeStore();
  NodeStore(const NodeStore&) = delete;
  NodeStore& operator=(const NodeStore&) = delete;

  const std::string& path() const { return store_->path(); }
  // The bitmaps of the image that the store stands beside; null: its bitmaps are in the store alone.
  ImageBitmaps* beside() const { return beside_; }
  // It has the bitmaps of the node. A store beside an image does not, when it is opened, unless the last user crashed.
  // If not, only begin_session() makes it have them, and all steps do nothing.
  bool is_active() const { return is_active_; }
  // Begins a session with the bitmaps of `list` that the image keeps, unless the store is active or stands beside no
  // image. Nothing changes the image meanwhile.
  aio::Task<Result<>> begin_session(const BitmapList& list);
  // The number of the session, for ImageBitmaps::set_session(); 0: none.
  std::uint32_t session() const { return is_active_ ? session_ : 0; }
  // After a crash it has all bitmaps that are in memory now. Any thread.
  bool survives_crash() const { return is_active_ && !store_->is_inconsistent(); }
  // A bitmap for each of stored_bitmaps(), in their order, of stored_bytes(); load() fills it. Then the caller adapts
  // all of them to the size of the image, if that is another one after a crash, and calls finish_loading().
  const std::vector<StoredBitmap>& stored_bitmaps() const { return store_->bitmaps(); }
  std::uint64_t stored_bytes() const { return store_->image_bytes(); }
  aio::Task<Result<>> load(const StoredBitmap& stored, DirtyBitmap& bitmap);
  aio::Task<Result<>> finish_loading();
  // Fails if the image is not the one of the opening, or was changed since. Other programs cannot change it any more
  // when the permissions of the node are in effect.
  aio::Task<Result<>> confirm();
  // Begins the checkpoints.
  void start();
  aio::Task<void> stop();
  // Ends the use of the store: it is clean if everything could be stored. Cannot fail: otherwise it stays as after a
  // crash. All bitmaps have the size of the image.
  aio::Task<void> close();

  // True while a change of the graph is about to remove the store.
  bool is_leaving() const { return is_leaving_; }
  void set_leaving(bool is_leaving) { is_leaving_ = is_leaving; }

  // --- steps of a change; errors are for users ---

  auto pause_checkpoints() { return store_->pause_checkpoints(); }
  Result<> check_addition(const BitmapList&, const NewBitmap&) const override { return {}; }
  aio::Task<Result<>> add(DirtyBitmap& bitmap) override;
  aio::Task<Result<>> set_enabled(DirtyBitmap& bitmap, bool is_enabled) override;
  bool is_stored_enabled(const DirtyBitmap& bitmap) const override;
  bool has(const DirtyBitmap& bitmap) const;
  // For commits and aborts, which cannot fail: if the store cannot follow, it becomes inconsistent.
  aio::Task<Result<>> remove(DirtyBitmap& bitmap) override;
  aio::Task<void> undo_add(DirtyBitmap& bitmap) override;
  aio::Task<void> store_bits() override;
  // The bytes of the image are not those that the bitmaps count from.
  aio::Task<void> lose(Errno cause) { return store_->abandon(cause, nullptr); }
  // Adopts the size of the node, which all bitmaps have. If that fails, the store expects this size as well.
  aio::Task<Result<>> adopt_size(std::uint64_t size_bytes);
  bool has_size(std::uint64_t size_bytes) const { return !is_active_ || store_->image_bytes() == size_bytes; }
  // The node shows another image than before.
  aio::Task<void> check_image();

  // --- changes of the node, as in ChangeListener ---
  IoResult try_before_change(const Change& change) {
    if (!is_recording_) return {};
    if (grows(change)) return fail(EAGAIN);
    return store_->try_before_change(change.range);
  }
  aio::Task<IoResult> before_change(Change change);
  void after_change(const Change& change) {
    if (is_recording_) store_->after_change(change.range);
  }

 private:
  NodeStore(Environment environment, std::unique_ptr<BitmapStore> store, Driver& driver, ImageIdentity image,
            std::uint32_t session);
  bool grows(const Change& change) const {
    return change.range.end() > size_bytes_max_.load(std::memory_order_relaxed) && driver_.can_grow();
  }
  aio::Task<void> expect_size(Change change);
  aio::Task<void> finish_removal(DirtyBitmap& bitmap, Result<> removed);
  void note_bitmaps();
  aio::Task<Result<ImageIdentity>> identify();
  void set_keeper(DirtyBitmap& bitmap, bool is_kept);
  aio::Task<void> close_beside();
  aio::Task<void> report_regularly();
  void report();
  void report_at_opening();
  void report_session();

  aio::Reactor& control_;
  const Log* log_;
  std::unique_ptr<BitmapStore> store_;
  Driver& driver_;
  ImageBitmaps* const beside_;
  const ImageIdentity image_;  // at the opening
  std::uint32_t session_;      // that the store has, or had when it was opened
  bool is_active_;
  // Changes need not be recorded for a store without bitmaps. Set while no request is under way.
  bool is_recording_ = false;
  bool is_leaving_ = false;
  std::optional<Errno> reported_;              // the last failure in the log
  std::atomic<std::uint64_t> size_bytes_max_;  // the largest size that the store expects
  std::uint64_t interval_ns_ = BitmapStore::kCheckpointIntervalNs;
  aio::Scope growths_;  // tasks of changes that other reactors make
  std::optional<aio::Scope> checkpoints_;
};

}  // namespace blockexport::block
