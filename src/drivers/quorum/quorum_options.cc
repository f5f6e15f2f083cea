#include "drivers/quorum/quorum_options.h"

#include <fmt/format.h>

#include <utility>

namespace blockexport::drivers {

Result<QuorumOptions> quorum_options(const schema::BlockdevOptionsQuorum& options) {
  const std::size_t count = options.children.size();
  if (count == 0) return fail("Number of provided children must be 1 or more");
  if (count > kQuorumChildrenMax) {
    return fail(fmt::format("Number of provided children must be {} or less", kQuorumChildrenMax));
  }
  if (options.vote_threshold < 1) return fail("Parameter 'vote-threshold' expects a value >= 1");
  if (std::cmp_greater(options.vote_threshold, count)) return fail("threshold may not exceed children count");
  QuorumOptions plain{.threshold = static_cast<std::size_t>(options.vote_threshold)};
  if (options.read_pattern == schema::QuorumReadPattern::kFifo) {
    // Without votes there is nothing to compare and to rewrite: as with the reference, both options are ignored.
    plain.reading = QuorumReading::kFirst;
    return plain;
  }
  plain.must_be_equal = options.blkverify.value_or(false);
  plain.rewrite_corrupted = options.rewrite_corrupted.value_or(false);
  if (plain.must_be_equal && (count != 2 || plain.threshold != 2)) {
    return fail("blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
  }
  if (plain.must_be_equal && plain.rewrite_corrupted) {
    return fail("rewrite-corrupted=on cannot be used with blkverify=on");
  }
  return plain;
}

}  // namespace blockexport::drivers
