// BlklogwritesDriver: a filter that records each change of its child "file" in the log of its child "log".
//
// Owned by its Node; owns the edges to both. Verbs run on any reactor. A change goes to the file first and then to the
// log, before it is answered; changes that overlap follow each other, so that the log has them in the order of the
// file. A flush is in the log once the file is durable. So the state of the file after a power cut is that of the log
// up to some entry after the last flush, and a test can make each of them. Reads cost what they cost below.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "drivers/blklogwrites/blklogwrites_options.h"
#include "drivers/blklogwrites/write_log.h"

namespace blockexport::drivers {

class BlklogwritesDriver final : public block::LiveDriver {
 public:
  // Reads the log if it is continued. Fails when its format or an option is wrong.
  static aio::Task<Result<std::unique_ptr<BlklogwritesDriver>>> open(BlklogwritesOptions options,
                                                                     std::unique_ptr<block::Edge> file,
                                                                     std::unique_ptr<block::Edge> log);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  bool owes_flush() const override { return file().owes_flush(); }
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<std::expected<block::DataPlace, Errno>> locate(block::Range range) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  // There is no try_write(): the log is written by tasks.
  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  block::Limits limits() const override;
  // Growth is not logged, as with the reference: writes past the end are.
  bool can_grow() const override { return file().driver().can_grow(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override { return file().grow(size_bytes); }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override { return file().resize(size_bytes); }

  std::string_view format_name() const override { return "blklogwrites"; }
  // The last one first, as the reference lists them.
  std::vector<block::Edge*> children() const override { return {log_edge_.get(), file_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  aio::Task<Result<block::ImageIdentity>> identify() override { return file().driver().identify(); }

 private:
  BlklogwritesDriver(std::unique_ptr<block::Edge> file, std::unique_ptr<block::Edge> log, const LogSuper& super,
                     std::uint64_t end_offset, std::uint64_t super_interval);
  block::Node& file() const { return file_->node(); }
  // The part of an aligned range that the file has: its size need be no multiple of a sector.
  block::Range in_file(block::Range range) const;

  std::unique_ptr<block::Edge> file_;
  std::unique_ptr<block::Edge> log_edge_;
  block::RangeLock changes_;
  WriteLog log_;
};

}  // namespace blockexport::drivers
