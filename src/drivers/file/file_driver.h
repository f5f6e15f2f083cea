// FileDriver: a regular file or a block device of this host.
//
// Owned by its Node. Verbs run on any reactor at once: requests share atomic flags, the extent cache, the sync group
// and the writeback errors, each with a lock of its own. The size of a regular file is rounded up to 512 bytes; the
// bytes past its real end read as zeros. Every call to the kernel goes through a Reactor. The driver never waits
// outside a co_await and never calls one of the kernel's blocking calls inline, except for copies into and out of the
// page cache (the try_ verbs).
#pragma once

#include <atomic>
#include <memory>

#include "aio/file/open_file.h"
#include "aio/operation/operation.h"
#include "aio/sync/sync_group.h"
#include "block/driver.h"
#include "block/range_lock.h"
#include "drivers/file/extent_cache.h"
#include "drivers/file/file_locks.h"
#include "drivers/file/file_options.h"
#include "drivers/file/write_backoff.h"
#include "drivers/file/writeback_errors.h"

namespace blockexport::drivers {

// The size of a regular file is rounded up to a multiple of this.
inline constexpr std::uint64_t kSectorBytes = 512;
// Longer writes past the end are passed to the kernel, so that other requests of the reactor do not wait for them.
inline constexpr std::uint64_t kInlineGrowthBytesMax = 256u << 10;

// The state between prepare_reopen() and its commit or abort.
struct FileReopening {
  FileOptions options;
  block::Limits limits;
  int fd;  // fd_ itself when the reopen needs no new descriptor
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

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  // Calls fstat() once if the cache may have extents, which it has only on file systems whose fstat() never waits.
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;

  std::uint64_t size_bytes() const override;
  block::Limits limits() const override { return limits_; }
  bool can_grow() const override { return !is_device(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override;

  std::string_view format_name() const override { return is_device() ? "host_device" : "file"; }
  std::string filename() const override { return options_.filename; }
  std::optional<block::HostFile> host_file() const override;
  bool is_read_only() const override { return options_.read_only; }
  aio::Task<std::optional<std::uint64_t>> allocated_bytes() override;
  aio::Task<Result<block::ImageIdentity>> identify() override;
  aio::Task<Result<>> set_permissions(block::Permissions permissions) override;
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;

  // Opens the file again when access or the use of the page cache changes; the commit moves the locks to the new
  // descriptor.
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;
  aio::Task<void> abort_reopen() override;

  const FileOptions& options() const { return options_; }
  const block::FileStatistics* file_statistics() const override { return &statistics_; }

 private:
  FileDriver(aio::Reactor& home, FileOptions options, int fd);
  static aio::Task<std::expected<int, Errno>> open_fd(aio::Reactor& reactor, const std::string& path,
                                                      FileOptions& options);
  // Opens a descriptor as `options` say, and checks that it refers to the file that is already open.
  aio::Task<Result<int>> open_again(FileOptions& options);
  aio::Task<Result<>> inspect();
  static aio::Task<block::Limits> limits_of(aio::Reactor& reactor, int fd, const FileOptions& options,
                                            std::uint32_t block_bytes);

  bool is_device() const { return options_.type == FileType::kDevice; }
  // The range to query the file system for when a client queries `range`, which begins inside the file.
  block::Range map_window(block::Range range) const;
  // True if pages of the transfers that begin now may stay in the page cache.
  aio::Caching caching() const {
    if (options_.direct) return aio::Caching::kBypass;
    const bool drop = !options_.keep_cached && !no_drop_cached_.load(std::memory_order_relaxed);
    return drop ? aio::Caching::kDrop : aio::Caching::kKeep;
  }
  // True if a transfer with `asked` failed because the file system does not support it; the caller then repeats the
  // transfer without it.
  bool is_dropping_refused(aio::Caching asked, Errno error);
  // True if another request syncs or is about to: a durable write then shares the next sync.
  bool is_syncing() { return durable_writes_.load(std::memory_order_relaxed) > 0 || syncs_.is_running(); }
  bool is_past_end(block::Range range) const { return range.end() > size_bytes(); }
  void raise_size(std::uint64_t end);
  // Reads the beginning of a long range as far as the page cache holds it, and returns the number of bytes read.
  aio::Task<std::uint64_t> read_cached_pieces(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  // Reads all of the range from the page cache; else EAGAIN.
  IoResult read_cached(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  // As try_write(), for a durable write: the caller syncs afterwards.
  bool write_at_once(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> write_past_end(block::Range range, block::IoBuffers buffers, bool force_unit_access);
  aio::Task<IoResult> write_inside(block::Range range, block::IoBuffers buffers, bool force_unit_access);
  // Completes a read that met the end of the file at byte `done` of the range: fills the rest with zeros, or fails with
  // EIO if the file became shorter than `file_bytes`, its end when the read began.
  static IoResult finish_read_at_end(block::Range range, block::IoBuffers buffers, std::uint64_t done,
                                     std::uint64_t file_bytes);
  aio::Task<IoResult> zero_by_file_system(aio::Reactor& reactor, block::Range range, bool may_unmap);
  aio::Task<IoResult> zero_in_device(aio::Reactor& reactor, block::Range range, bool may_unmap);
  aio::Task<IoResult> zero_blocks(aio::Reactor& reactor, block::Range range, bool may_unmap);
  // Three kinds of writing: the content of `buffers`, zeros, or either of them (zeros when `buffers` is empty). With
  // `data_sync` a successful write is durable.
  aio::Task<IoResult> write_buffers(block::Range range, block::IoBuffers buffers, bool data_sync);
  aio::Task<IoResult> write_zero_buffers(block::Range range, bool data_sync);
  aio::Task<IoResult> write_content(block::Range range, block::IoBuffers buffers, bool data_sync);
  aio::Task<IoResult> write_durably(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> write_alone(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers);
  // Makes all completed writes durable if it succeeds. Shares one sync with the other tasks that wait for one.
  aio::Task<IoResult> sync(aio::Reactor& reactor);
  aio::Task<IoResult> sync_alone(aio::Reactor& reactor);
  aio::Task<IoResult> sync_file(aio::Reactor& reactor);
  // Calls fallocate(2), unless `refused` says that the kernel has refused this mode before; then, and when it refuses
  // now, returns ENOTSUP.
  aio::Task<IoResult> allocate(aio::Reactor& reactor, int mode, block::Range range, std::atomic<bool>& refused);

  aio::Reactor& home_;
  FileOptions options_;
  std::string path_;  // absolute form of the file name
  std::shared_ptr<const aio::OpenFile> file_;
  int fd_;                                           // descriptor of file_
  block::HostFile host_file_;                        // without a path
  bool lives_in_memory_ = false;                     // its file system is in memory
  bool drops_direct_syncs_ = false;                  // see aio::FileInfo::drops_direct_syncs
  std::uint64_t device_block_bytes_ = kSectorBytes;  // logical block size of a device
  block::Limits limits_;
  std::unique_ptr<FileLocks> locks_;          // null: locking is off
  std::unique_ptr<FileReopening> reopening_;  // set between prepare_reopen and commit_reopen
  std::atomic<std::uint64_t> file_bytes_;     // real end of the file, as of the last check
  block::RangeLock growth_;                   // writes that grow the file hold it shared, grow() holds it exclusively
  WriteBackoff write_backoff_;
  aio::SyncGroup syncs_;
  std::atomic<std::uint32_t> durable_writes_ = 0;  // number under way
  // Not used with direct I/O, which leaves no dirty pages to write back.
  WritebackErrors writeback_errors_;

  // Calls that the file system or device has refused once, and that the driver does not repeat.
  std::atomic<bool> no_punch_hole_ = false;
  std::atomic<bool> no_zero_range_ = false;
  std::atomic<bool> no_allocate_ = false;
  std::atomic<bool> allocates_ = false;  // a KEEP_SIZE allocation has succeeded once
  std::atomic<bool> no_device_discard_ = false;
  std::atomic<bool> no_device_zero_out_ = false;
  std::atomic<bool> no_seek_hole_ = false;
  std::atomic<bool> no_drop_cached_ = false;

  ExtentCache extents_;
  // Querying further than requested pays, because the last map added much to the cache.
  std::atomic<bool> look_ahead_ = true;

  block::FileStatistics statistics_;
};

}  // namespace blockexport::drivers
