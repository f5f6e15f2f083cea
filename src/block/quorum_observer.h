// QuorumObserver: learns of children of a quorum node that fail or disagree, and of requests that fail for this reason.
//
// The observer outlives the drivers that call it. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/errno.h"
#include "block/range.h"

namespace blockexport::block {

enum class QuorumOperation : std::uint8_t { kRead, kWrite, kFlush };

struct QuorumBadChild {
  QuorumOperation operation = QuorumOperation::kRead;
  std::string node_name;                      // of the child
  Range range;                                // of the request; empty for a flush
  std::optional<Errno> error = std::nullopt;  // nullopt: it has other bytes than most children
};

struct QuorumFailure {
  std::string node_name;  // of the quorum node
  Range range;            // of the request
};

class QuorumObserver {
 public:
  virtual void child_is_bad(QuorumBadChild report) = 0;
  virtual void request_failed(QuorumFailure report) = 0;

 protected:
  ~QuorumObserver() = default;
};

}  // namespace blockexport::block
