// BlkverifyDriver: a filter that sends each request to two children, "test" and "raw", and compares what they answer.
//
// Owned by its Node; owns the edges to its children. Verbs run on any reactor, and send their requests to both children
// at once. Changes of overlapping ranges follow each other, so that they arrive in the same order on both. A read takes
// no lock while the children agree; when they do not, it keeps changes of its range away and reads again before it
// judges. After a difference every request fails (ContentCheck).
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "drivers/replicas/content_check.h"

namespace blockexport::drivers {

class BlkverifyDriver final : public block::LiveDriver {
 public:
  // A read compares pieces that are at most so long, and has memory for one.
  static constexpr std::uint64_t kReadPieceBytesMax = 1u << 20;

  // `test`: its size and bytes are those of the node. `log` may be null, and outlives the driver.
  BlkverifyDriver(std::unique_ptr<block::Edge> test, std::unique_ptr<block::Edge> raw, const Log* log = nullptr);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  // After a discard, both might have other bytes and be right.
  bool can_discard() const override { return false; }
  aio::Task<IoResult> discard(block::Range range) override;
  // Of the tested child: the other one is no more than a copy to compare with.
  aio::Task<IoResult> flush() override;
  bool owes_flush() const override { return test().owes_flush(); }
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  std::uint64_t size_bytes() const override { return test().size_bytes(); }
  block::Limits limits() const override;

  std::string_view format_name() const override { return "blkverify"; }
  // The last one first, as the reference lists them.
  std::vector<block::Edge*> children() const override { return {test_.get(), raw_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  // The reference tells none.
  aio::Task<std::optional<std::uint64_t>> allocated_bytes() override;

 private:
  block::Node& test() const { return test_->node(); }
  block::Node& raw() const { return raw_->node(); }
  const std::string& node_name() const { return test_->parent().node->name(); }

  aio::Task<IoResult> read_piece(block::Range range, block::IoBuffers buffers);
  // Results of both children, the tested one first.
  aio::Task<std::vector<IoResult>> read_both(block::Range range, block::IoBuffers buffers, std::span<std::byte> memory);
  IoResult compare_results(std::string_view operation, block::Range range, const std::vector<IoResult>& results);

  std::unique_ptr<block::Edge> test_;
  std::unique_ptr<block::Edge> raw_;
  block::RangeLock changes_;
  ContentCheck check_;
};

}  // namespace blockexport::drivers
