// PreallocateDriver: a filter that makes its file larger in few large steps.
//
// A write past the end of the file allocates space beyond the write, as zeros, and the node shows the size without that
// space. Owned by its Node. It allocates only while its users write and resize, and let nobody else do so; the file is
// cut to its size when they end, and whenever the node is quiesced. After a crash the file is longer, and ends with
// zeros. Space that cannot be allocated is not missed: the write then makes the file larger by itself. Thread: verbs on
// any reactor.
#pragma once

#include <atomic>
#include <memory>

#include "block/range_lock.h"
#include "drivers/filter/filter_driver.h"
#include "drivers/preallocate/preallocate_options.h"

namespace blockexport::drivers {

class PreallocateDriver final : public FilterDriver {
 public:
  PreallocateDriver(PreallocateOptions options, std::unique_ptr<block::Edge> file)
      : FilterDriver(std::move(file)), options_(options) {}

  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override;

  std::uint64_t size_bytes() const override;
  aio::Task<void> quiesce() override;

  std::string_view format_name() const override { return "preallocate"; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  aio::Task<Result<>> set_permissions(block::Permissions permissions) override;
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;

 private:
  // The size while nothing is allocated beyond it: the file's own.
  static constexpr std::uint64_t kSizeOfFile = UINT64_MAX;

  bool is_past_end(std::uint64_t end) const { return end > size_bytes(); }
  // The wanted end of the file, so that a write up to `end` fits.
  std::uint64_t end_of_space(std::uint64_t end) const;
  // Makes room in the file up to `end` if it may, and begins the growth of this node: it is that large afterwards.
  aio::Task<void> begin_growth(std::uint64_t end);
  // The same for zeros: true when they are there already.
  aio::Task<bool> begin_growth_of_zeros(block::Range range);
  // With the lock.
  aio::Task<void> allocate(std::uint64_t end);
  void raise_size(std::uint64_t end);
  // Gives the space beyond the size back.
  aio::Task<void> cut();

  aio::Task<IoResult> grow_and_write(block::Range range, block::IoBuffers buffers, block::WriteOptions options);
  aio::Task<IoResult> grow_and_write_zeroes(block::Range range, block::ZeroOptions options);

  PreallocateOptions options_;
  PreallocateOptions next_options_;  // between prepare_reopen and commit_reopen
  std::atomic<bool> may_allocate_ = false;
  std::atomic<std::uint64_t> size_bytes_ = kSizeOfFile;
  block::RangeLock growth_;  // whoever allocates or cuts holds it alone
};

}  // namespace blockexport::drivers
