// CopyOnReadDriver: a filter that stores in its child what is read from the backing nodes below the child.
//
// Owned by its Node. A read first makes sure that its range stands in the child, by copying the clusters that do not.
// A copy holds its clusters alone, and every change that comes through the filter shares its own, so that no copy
// overwrites newer bytes; the filter lets nobody else write to the child. Copies use bounce buffers, of limited size
// and number. Thread: verbs on any reactor.
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>

#include "base/intrusive_list.h"
#include "block/range_lock.h"
#include "drivers/filter/filter_driver.h"

namespace blockexport::drivers {

class CopyOnReadDriver final : public FilterDriver {
 public:
  // Bytes that are copied at a time, unless one cluster is longer, and copies of one node that are under way at a time.
  static constexpr std::uint64_t kCopyBytesMax = 1u << 20;
  static constexpr std::uint64_t kCopiesMax = 64;

  // `bottom`: the last node of the chain whose bytes are copied; null: those of all nodes are. It stays in the chain as
  // long as this node exists, which the graph sees to. Errors: it is no such node.
  static Result<std::unique_ptr<CopyOnReadDriver>> open(std::unique_ptr<block::Edge> file, const block::Node* bottom);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;

  std::string_view format_name() const override { return "copy-on-read"; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;

 private:
  CopyOnReadDriver(std::unique_ptr<block::Edge> file, const block::Node* bottom)
      : FilterDriver(std::move(file)), bottom_(bottom) {}

  // The depth of the last node whose bytes are copied.
  std::uint32_t bottom_depth() const;
  // Returns true if the whole range is known to stand in the child.
  bool is_in_child(aio::Reactor& reactor, block::Range range) const;
  block::Range clusters_around(block::Range range) const;

  // Copies what does not stand in the child.
  aio::Task<IoResult> fill(block::Range range);
  aio::Task<IoResult> copy_clusters(block::Range clusters);
  aio::Task<IoResult> copy_bytes(block::Range range);

  // Clusters that are being copied: an entry of a list, in the frame of the copy.
  class Copying : public ListLink<Copying> {
   public:
    Copying(CopyOnReadDriver& driver, block::Range clusters);
    ~Copying();
    Copying(const Copying&) = delete;
    Copying& operator=(const Copying&) = delete;
    block::Range clusters() const { return clusters_; }

   private:
    CopyOnReadDriver& driver_;
    block::Range clusters_;
  };
  // With the mutex, shared.
  bool is_being_copied(block::Range range);

  const block::Node* bottom_;  // compared only
  block::RangeLock changes_;
  // Inline writes, which cannot wait for a lock of ranges, share the mutex; it guards the list.
  std::shared_mutex inline_writes_;
  IntrusiveList<Copying> being_copied_;
  block::RangeLock slots_;  // a byte for each copy that may be under way
  std::atomic<std::uint64_t> next_slot_ = 0;
};

}  // namespace blockexport::drivers
