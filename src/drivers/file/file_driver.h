// FileDriver: a regular file or a block device of this host.
//
// Owned by its Node. Verbs run on any reactor at once: what requests share is atomic flags, the extent cache, the sync
// group and what is known of losses, each with a lock of its own. The size of a regular file is rounded up to 512
// bytes; what lies past its real end reads as zeros. Every call to the kernel goes through a Reactor. It never waits
// outside a co_await and never calls one of the kernel's blocking calls inline, except for copies into and out of the
// page cache (the try_ verbs).
#pragma once

#include <atomic>
#include <memory>

#include "aio/open_file.h"
#include "aio/operation.h"
#include "block/driver.h"
#include "block/range_lock.h"
#include "drivers/file/extent_cache.h"
#include "drivers/file/file_locks.h"
#include "drivers/file/file_options.h"
#include "drivers/file/loss_report.h"
#include "drivers/file/sync_group.h"
#include "drivers/file/write_backoff.h"

namespace blockexport::drivers {

// A regular file's size is rounded up to this.
inline constexpr std::uint64_t kSectorBytes = 512;

// What a reopen has prepared.
struct FileReopening {
  FileOptions options;
  block::Limits limits;
  int fd;  // the one in use, when that need not change
};

class FileDriver final : public block::LiveDriver {
 public:
  // Opens on the reactor of the awaiting task, which must outlive the driver. Takes no locks yet: set_permissions does.
  static aio::Task<Result<std::unique_ptr<FileDriver>>> open(FileOptions options);
  ~FileDriver() override;

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::WriteHints& hints) override;
  // One fstat() when the cache may know, which it does only on file systems where that never waits.
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;

  std::uint64_t size_bytes() const override;
  block::Limits limits() const override { return limits_; }
  bool can_grow() const override { return !is_device(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override;

  std::string_view format_name() const override { return is_device() ? "host_device" : "file"; }
  std::string filename() const override { return options_.filename; }
  bool is_read_only() const override { return options_.read_only; }
  aio::Task<std::optional<std::uint64_t>> allocated_bytes() override;
  aio::Task<Result<>> set_permissions(block::Permissions permissions) override;
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;

  // Opens the file again where access or the page cache changes; locks move to it at the commit.
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options) override;
  aio::Task<void> commit_reopen() override;
  aio::Task<void> abort_reopen() override;

  const FileOptions& options() const { return options_; }
  const block::FileStatistics* file_statistics() const override { return &statistics_; }

 private:
  FileDriver(aio::Reactor& home, FileOptions options, int fd);
  static aio::Task<std::expected<int, Errno>> open_fd(aio::Reactor& reactor, const std::string& path,
                                                      FileOptions& options);
  // The descriptor that `options` ask for, and that it is still the file which is open.
  aio::Task<Result<int>> open_again(FileOptions& options);
  aio::Task<Result<>> inspect();
  static aio::Task<block::Limits> limits_of(aio::Reactor& reactor, int fd, const FileOptions& options,
                                            std::uint32_t block_bytes);

  bool is_device() const { return options_.type == FileType::kDevice; }
  // What is asked of the file system when `range` is asked of us, which does not lie behind the end of the file.
  block::Range map_window(block::Range range) const;
  // Whether what is read or written now may stay in the page cache.
  aio::Caching caching() const {
    if (options_.direct) return aio::Caching::kBypass;
    const bool drop = !options_.keep_cached && !no_drop_cached_.load(std::memory_order_relaxed);
    return drop ? aio::Caching::kDrop : aio::Caching::kKeep;
  }
  // Whether a transfer with `asked` that failed so is to be tried again, without it.
  bool is_dropping_refused(aio::Caching asked, Errno error);
  // Whether others sync, or are about to: then a durable write shares their next sync.
  bool is_syncing() { return durable_writes_.load(std::memory_order_relaxed) > 0 || syncs_.is_running(); }
  bool is_past_end(block::Range range) const { return range.end() > size_bytes(); }
  void raise_size(std::uint64_t end);
  // Reads what the page cache has of the beginning of a long range, and returns how much that is.
  aio::Task<std::uint64_t> read_cached_pieces(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  // As try_write(), for a durable write that is followed by a sync.
  bool write_at_once(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> write_past_end(block::Range range, block::IoBuffers buffers, bool force_unit_access);
  aio::Task<IoResult> write_inside(block::Range range, block::IoBuffers buffers, bool force_unit_access);
  // Ends a read at the end of the file: the bytes from `done` on are zeros, or missing.
  IoResult finish_read_at_end(block::Range range, block::IoBuffers buffers, std::uint64_t done) const;
  aio::Task<IoResult> zero_by_file_system(aio::Reactor& reactor, block::Range range, bool may_unmap);
  aio::Task<IoResult> zero_in_device(aio::Reactor& reactor, block::Range range, bool may_unmap);
  aio::Task<IoResult> zero_blocks(aio::Reactor& reactor, block::Range range, bool may_unmap);
  // The kinds of writing, with `data_sync` durable if it succeeds: of what is in `buffers`, of zeros, and of either,
  // which is zeros when there are no buffers.
  aio::Task<IoResult> write_buffers(block::Range range, block::IoBuffers buffers, bool data_sync);
  aio::Task<IoResult> write_zero_buffers(block::Range range, bool data_sync);
  aio::Task<IoResult> write_content(block::Range range, block::IoBuffers buffers, bool data_sync);
  aio::Task<IoResult> write_durably(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> write_alone(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  // What completed before is durable when it succeeds; shared with who else waits for that.
  aio::Task<IoResult> sync(aio::Reactor& reactor);
  aio::Task<IoResult> sync_alone(aio::Reactor& reactor);
  aio::Task<IoResult> sync_file(aio::Reactor& reactor);
  // fallocate, unless it was refused before for what `refused` stands for; ENOTSUP then and from then on.
  aio::Task<IoResult> allocate(aio::Reactor& reactor, int mode, block::Range range, std::atomic<bool>& refused);

  aio::Reactor& home_;
  FileOptions options_;
  std::string path_;  // absolute: the file name is as it was given
  std::shared_ptr<const aio::OpenFile> file_;
  int fd_;                                           // of file_
  bool lives_in_memory_ = false;                     // its file system does
  bool drops_direct_syncs_ = false;                  // see aio::FileInfo
  std::uint64_t device_block_bytes_ = kSectorBytes;  // of a device: its logical block size
  block::Limits limits_;
  std::unique_ptr<FileLocks> locks_;          // null: no locking
  std::unique_ptr<FileReopening> reopening_;  // between prepare_reopen and commit_reopen
  std::atomic<std::uint64_t> file_bytes_;     // the real end as far as we know
  block::RangeLock growth_;                   // growing writes share it, grow() holds it alone
  WriteBackoff write_backoff_;
  SyncGroup syncs_;
  std::atomic<std::uint32_t> durable_writes_ = 0;  // under way
  LossReport losses_;                              // unless direct: then nothing is kept back, and nothing lost later

  // What the file system or device has refused once.
  std::atomic<bool> no_punch_hole_ = false;
  std::atomic<bool> no_zero_range_ = false;
  std::atomic<bool> no_allocate_ = false;
  std::atomic<bool> allocates_ = false;  // it has done so once
  std::atomic<bool> no_device_discard_ = false;
  std::atomic<bool> no_device_zero_out_ = false;
  std::atomic<bool> no_seek_hole_ = false;
  std::atomic<bool> no_drop_cached_ = false;

  ExtentCache extents_;
  std::atomic<bool> look_ahead_ = true;  // the last map taught so much that it pays to look further than asked

  block::FileStatistics statistics_;
};

}  // namespace blockexport::drivers
