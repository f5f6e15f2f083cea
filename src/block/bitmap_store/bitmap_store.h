// BitmapStore: persistent dirty bitmaps of one image, in a file beside it (docs/bitmap-store.md).
//
// After a crash or a power loss it never calls a block clean that is dirty: before bytes of a region change for the
// first time, a durable intent says so, and at the next opening such regions are dirty. A checkpoint writes the bits,
// and then retires the intents of regions that are no longer written.
// A store beside an image that keeps its bitmaps itself has them during a session, which the image names
// (begin_session()); otherwise it has none.
// Owned by the code that attaches it to a node; the bits of its bitmaps outlive it or their remove(). Thread: the home
// reactor, which is the only one that clears, merges or resizes the bits; *_change() functions on any reactor.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "aio/task/task.h"
#include "base/error.h"
#include "block/bitmap/dirty_bits.h"
#include "block/bitmap_store/region_intents.h"
#include "block/bitmap_store/store_file.h"
#include "block/bitmap_store/store_format.h"
#include "block/range.h"

namespace blockexport::block {

class BitmapStore {
 public:
  // The image, as its driver knows it.
  struct Image {
    std::string identity;  // at most kImageIdentityBytesMax; another image has another one
    std::uint64_t size_bytes = 0;
    // At most kImageGenerationBytesMax. Any program that writes the image changes it: its mtime and ctime, for example.
    // The text before a newline is its scope: generations of different scopes cannot be compared, and count as equal.
    std::string generation;
    // The session that an image names which keeps its bitmaps itself; 0: it names none. The identity is without it.
    std::optional<std::uint32_t> session = std::nullopt;
  };

  static constexpr std::uint64_t kCheckpointIntervalNs = 30'000'000'000;

  // --- opening; errors are for users, with a hint ---

  // Makes a store without bitmaps. The file must not exist, or be empty, or the rest of an interrupted create().
  // `region_bytes`: a power of two from kRegionBytesMin to kRegionBytesMax.
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> create(aio::Reactor& home, std::string path, Image image,
                                                                std::uint64_t region_bytes);
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> create(aio::Reactor& home, std::string path, Image image) {
    const std::uint64_t region_bytes = region_bytes_for(image.size_bytes);
    return create(home, std::move(path), std::move(image), region_bytes);
  }
  // Opens a store and syncs its file, without a change. Fails if it does not belong to this image as it is now. The
  // generation is not compared after a crash, when nobody knows it. A store without bitmaps belongs to any image. One
  // of another session of this image opens, without its bitmaps: see has_session().
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> open(aio::Reactor& home, std::string path, Image image);
  // Opens the store, or makes it if there is no file or if its creation was interrupted.
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> open_or_create(aio::Reactor& home, std::string path,
                                                                        Image image);
  // Without close() the file stays as after a crash. No task of the store is under way.
  ~BitmapStore() = default;
  BitmapStore(const BitmapStore&) = delete;
  BitmapStore& operator=(const BitmapStore&) = delete;

  // The bitmaps of the store. Valid until the next change of the list.
  const std::vector<StoredBitmap>& bitmaps() const { return catalog_.bitmaps; }
  std::uint64_t region_bytes() const { return catalog_.region_bytes; }
  // The size that the stored bitmaps have. Right after the opening it may differ from the image's, if a crash ended a
  // change of the size: then the caller loads bits of this size, adapts them, and calls resize().
  std::uint64_t image_bytes() const { return catalog_.image_bytes; }
  const std::string& path() const { return file_->path(); }
  // For an image with sessions: the store has recorded every change since the session of the image began, and has its
  // bitmaps. Otherwise bitmaps() means nothing, and nothing but begin_session() is called.
  bool has_session() const { return has_session_; }
  // Forgets what the store has, and belongs to that session of that image, without bitmaps, from now on. No change was
  // recorded since the opening. After an error no image may name the session, and this may be called again.
  aio::Task<Result<>> begin_session(Image image);
  // Adds the stored bits to `bits`, which has the size of the image and the granularity of the bitmap, and keeps the
  // bitmap in the store up to date from now on.
  aio::Task<Result<>> load(std::string name, DirtyBits& bits);

  // The state in which the last user left the store.
  struct Recovery {
    bool was_recording = false;         // it crashed
    std::uint64_t dirty_regions = 0;    // regions that load() marks because of their intents
    std::uint64_t damaged_sectors = 0;  // their bits are dirty; complete after every bitmap is loaded
  };
  const Recovery& recovery() const { return recovery_; }

  // The stored bitmaps cannot be trusted: some changes could not be recorded, for the reason of failure(). The bits in
  // memory are right as long as the daemon lives. It stays so until every bitmap is removed. Any thread.
  bool is_inconsistent() const { return is_inconsistent_.load(); }
  std::optional<Errno> failure() const;

  // --- the list of bitmaps; errors are for users. Every bitmap is loaded. ---

  // Stores a new bitmap. `bits` is recording already, or `is_enabled` is false.
  aio::Task<Result<>> add(std::string name, DirtyBits& bits, bool is_enabled);
  // Stores whether the bitmap is enabled. The caller enables it afterwards, or has disabled it before.
  aio::Task<Result<>> set_enabled(std::string name, bool is_enabled);
  // Removes a bitmap, after a checkpoint of the others, into which its bits may have been merged.
  aio::Task<Result<>> remove(std::string name);
  // Removes a bitmap whose add() a caller undoes, and stores no bits, which the caller may be about to restore.
  aio::Task<Result<>> undo_add(std::string name);
  // Called before the size of the image changes: from now on it may have any size from `min_bytes` to `max_bytes`, or
  // one that it could have before. A store whose image has another size is refused when it is opened.
  aio::Task<IoResult> expect_sizes(std::uint64_t min_bytes, std::uint64_t max_bytes);
  std::uint64_t expected_bytes_max() const { return catalog_.image_bytes_max; }
  // Adopts the size that the image and all bits have now, and expects no other any more. No change is under way.
  aio::Task<Result<>> resize(std::uint64_t size_bytes);
  // The bits of the file can no longer follow those in memory: makes the store inconsistent. `bits`, if given, are
  // about to be destroyed. If even that cannot be stored, no intent is reset any more, so that after a crash the
  // regions of all changes are dirty, and close() tries it again.
  aio::Task<void> abandon(Errno cause, const DirtyBits* bits);

  // --- changes of the image ---

  // Makes the store expect changes. Optional: the first change does the same. EBUSY: a bitmap is not loaded.
  aio::Task<IoResult> begin_recording();
  // Called before the bytes change. The first form never waits: EAGAIN asks for the second one, which makes the intents
  // of new regions durable. After a success the caller changes the bytes, marks the bits, and then calls after_change()
  // with the same range, exactly once, whether or not the change succeeded. An error means that the store can neither
  // record the change nor be made inconsistent, and cancels the change.
  IoResult try_before_change(Range range);
  aio::Task<IoResult> before_change(Range range);
  void after_change(Range range);

  // Stores the bits as they are. Awaited after a merge, before its success is reported. The next checkpoint tries again
  // after an error. `which`: the intents that are retired.
  aio::Task<IoResult> checkpoint(RegionIntents::Retire which = RegionIntents::Retire::kIdle);
  // Makes a checkpoint in each interval in which something changed, until the task is cancelled.
  aio::Task<void> checkpoint_regularly(std::uint64_t interval_ns);
  // Keeps checkpoint_regularly() from storing bits, until the guard is destroyed: for a caller that may undo what it
  // does to the bits.
  auto pause_checkpoints() { return regular_.lock(); }
  // The error of the last regular checkpoint, if it failed.
  std::optional<Errno> checkpoint_error() const { return checkpoint_error_; }

  // --- the end; no change is under way, and nothing else is called afterwards ---

  // Stores the bits, and the generation of the image after its last write, which is durable.
  aio::Task<Result<>> close(std::string generation);
  // Forgets the session with its bitmaps, which the image has.
  aio::Task<Result<>> end_session();
  // Removes the file with all bitmaps.
  aio::Task<Result<>> destroy();

 private:
  using Regions = RegionIntents::Regions;
  // A bit for each region, in the layout of the intent area.
  using RegionBits = std::vector<std::uint64_t>;
  // The bits of a stored bitmap in memory.
  struct Loaded {
    DirtyBits* bits = nullptr;               // null: not loaded
    std::unique_ptr<DirtyBits> stored = {};  // at least the bits that the file may have
    bool must_rewrite = false;               // a write or sync failed, so a sector may have fewer
  };
  // The bits of one bitmap at one moment.
  using Snapshots = std::vector<std::unique_ptr<DirtyBits>>;
  enum class Pass : std::uint8_t { kAdd, kRemove };

  BitmapStore(aio::Reactor& home, std::unique_ptr<StoreFile> file, RegionIntents intents);

  // --- bitmap_store_open.cc ---
  static Result<std::unique_ptr<BitmapStore>> with_file(aio::Reactor& home, std::unique_ptr<StoreFile> file,
                                                        std::uint64_t region_bytes);
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> create_in(aio::Reactor& home, std::unique_ptr<StoreFile> file,
                                                                   Image image, std::uint64_t region_bytes);
  static aio::Task<Result<std::unique_ptr<BitmapStore>>> open_in(aio::Reactor& home, std::unique_ptr<StoreFile> file,
                                                                 Image image);
  aio::Task<IoResult> write_new_file(std::string generation);
  aio::Task<IoResult> rewrite_intents();
  aio::Task<IoResult> read_intents();
  aio::Task<IoResult> read_bits(const StoredBitmap& bitmap, DirtyBits& bits);

  // --- bitmap_store.cc: intents and superblocks; they hold writes_ ---
  bool is_all_loaded() const;
  aio::Task<void> make_durable(Regions regions, IoResult& result);
  bool want(Regions regions);
  aio::Task<IoResult> write_intents();
  aio::Task<IoResult> write_intent_sectors(const RegionBits& changed, const RegionBits& content,
                                           StoreFile::Durability durability);
  aio::Task<IoResult> start_recording();
  aio::Task<IoResult> write_superblock(StoreSuperblock next);
  // Makes the store inconsistent. Success: its file says so durably.
  aio::Task<IoResult> give_up(Errno cause);

  // --- bitmap_store_checkpoint.cc; they hold layout_ ---
  IoResult check_can_store() const;
  bool is_up_to_date() const;
  aio::Task<IoResult> store_bits(RegionIntents::Retire which);
  void retire_intents(RegionIntents::Retire which);
  aio::Task<IoResult> forget_intents();
  // Stores the bits that the file does not have yet, and removes none.
  aio::Task<IoResult> add_bits();
  IoResult copy_bits(Snapshots& snapshots) const;
  enum class Passes : bool { kAddAndRemove, kAdd };
  aio::Task<IoResult> write_passes(const Snapshots& snapshots, Passes passes);
  aio::Task<IoResult> write_pass(const StoreArea& area, const Loaded& loaded, const DirtyBits& now, Pass pass);

  // --- bitmap_store_changes.cc; they hold layout_ ---
  Error error_of(std::string_view action, Errno cause) const;
  aio::Task<IoResult> forget_bitmaps(StoreCatalog next);
  Result<std::size_t> find(const std::string& name) const;
  enum class First : bool { kAddBits, kNothing };
  aio::Task<Result<>> remove(std::string name, First first);
  aio::Task<IoResult> write_new_bitmap(StoredBitmap& bitmap, Loaded& loaded, StoreCatalog& catalog);
  aio::Task<IoResult> commit(StoreCatalog catalog);
  aio::Task<IoResult> write_superblock_of(StoreCatalog catalog, StoreExtent at, std::uint32_t sum);

  aio::Reactor& home_;
  aio::Scope changes_;  // tasks of changes that other reactors make
  std::unique_ptr<StoreFile> file_;
  RegionIntents intents_;
  std::atomic<bool> is_inconsistent_ = false;

  aio::Mutex regular_;  // of checkpoint_regularly(); taken before layout_
  aio::Mutex layout_;   // of checkpoints and changes of the catalog; taken before writes_
  aio::Mutex writes_;   // of the file's intent area and superblocks
  StoreSuperblock superblock_;
  StoreCatalog catalog_;
  std::vector<Loaded> loaded_;  // in the order of catalog_.bitmaps

  RegionBits stable_;      // set in the file, durably
  RegionBits wanted_;      // to be set by the next write_intents()
  RegionBits retiring_;    // to be reset at the end of the checkpoint under way
  bool is_stuck_ = false;  // the file may have one of two catalogs
  bool has_session_ = false;
  std::optional<Errno> checkpoint_error_;
  Recovery recovery_;
};

}  // namespace blockexport::block
