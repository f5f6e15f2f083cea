// QuorumDriver: writes to several children, which vote on what is read.
//
// Owned by its Node; owns the edges to its children "children.0" and so on, which have to be equally large. Children
// come and go by VariableChildren: a new one gets the number after the highest one so far. Verbs run
// on any reactor, and send their requests to all children at once. Changes of overlapping ranges follow each other, so
// that they arrive in the same order everywhere. A read takes no lock while the children agree. When they do not, a
// change may have been under way: the read then keeps changes of its range away, and reads again before it judges and
// rewrites.
#pragma once

#include <memory>
#include <string>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/quorum_observer.h"
#include "block/range_lock.h"
#include "block/variable_children.h"
#include "drivers/quorum/quorum_options.h"
#include "drivers/quorum/votes.h"
#include "drivers/replicas/content_check.h"

namespace blockexport::drivers {

class QuorumDriver final : public block::LiveDriver, private block::VariableChildren {
 public:
  // Children vote on pieces of a read that are at most so long; each child but the first needs memory for one.
  static constexpr std::uint64_t kReadPieceBytesMax = 1u << 20;

  // `children`: at least one, at most kQuorumChildrenMax. `log` and `observer` may be null, and outlive the driver.
  // Fails when the children differ in size.
  static Result<std::unique_ptr<QuorumDriver>> open(QuorumOptions options,
                                                    std::vector<std::unique_ptr<block::Edge>> children,
                                                    const Log* log = nullptr,
                                                    block::QuorumObserver* observer = nullptr);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  // After a discard, children might differ without being corrupt.
  bool can_discard() const override { return false; }
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  // Of the first child, if it alone is read.
  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override { return child(0).size_bytes(); }
  block::Limits limits() const override;

  std::string_view format_name() const override { return "quorum"; }
  // The last one first, as the reference lists them.
  std::vector<block::Edge*> children() const override;
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  void describe_image(schema::ImageInfo& info) const override;
  block::VariableChildren* variable_children() override { return this; }

 private:
  struct Poll;

  QuorumDriver(QuorumOptions options, std::vector<std::unique_ptr<block::Edge>> children, const Log* log,
               block::QuorumObserver* observer);

  Result<std::string> next_child_name() const override;
  Result<> check_new_child(const block::Node& node) const override;
  Result<> check_removal() const override;
  void add_child(std::unique_ptr<block::Edge> edge) override;
  Taken take_child(const block::Edge& edge) override;
  void return_child(Taken taken) override;

  // Fails unless both nodes have the same size.
  static Result<> check_size(const block::Node& first, const block::Node& other);

  block::Node& child(std::size_t index) const { return children_[index]->node(); }
  bool reads_first() const { return options_.reading == QuorumReading::kFirst; }
  const std::string& node_name() const;

  aio::Task<IoResult> read_first(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> read_piece(block::Range range, block::IoBuffers buffers);
  // Reads from all children, and counts what they brought.
  aio::Task<void> read_all(Poll& poll);
  // The result of a read of which the children disagree, or fail too often, while no change of the range is under way.
  aio::Task<IoResult> judge(Poll& poll);
  aio::Task<void> rewrite(const Poll& poll);
  aio::Task<IoResult> write_zeroes_if_fast(block::Range range, block::ZeroOptions options);

  // Reports failed children, and returns the result of the request.
  IoResult settle(block::QuorumOperation operation, block::Range range, const std::vector<IoResult>& results) const;
  void report_failures(block::QuorumOperation operation, block::Range range,
                       const std::vector<IoResult>& results) const;
  void report_bad(block::QuorumOperation operation, block::Range range, std::size_t index,
                  std::optional<Errno> error) const;
  void report_failure(block::Range range) const;

  QuorumOptions options_;
  std::vector<std::unique_ptr<block::Edge>> children_;
  std::uint32_t next_number_;  // of a further child; above those of all children
  block::QuorumObserver* observer_;
  block::RangeLock changes_;
  ContentCheck check_;
};

}  // namespace blockexport::drivers
