// ContentCheck: state of a node that compares two children, which have to have the same bytes and the same errors.
//
// The first difference is logged, and fails every request of the node from then on: a test sees it at once, and the
// other nodes of the daemon go on. Owned by the node's driver. Thread: any.
#pragma once

#include <atomic>
#include <string_view>

#include "base/errno.h"
#include "block/range.h"

namespace blockexport {
class Log;
}

namespace blockexport::drivers {

class ContentCheck {
 public:
  // `log` may be null, and outlives it. `format_name` is static text.
  ContentCheck(const Log* log, std::string_view format_name) : log_(log), format_name_(format_name) {}

  // EIO once there was a difference.
  IoResult state() const;

  // Both return EIO. `node_name`: of the node that compares. `offset`: of the first byte that differs.
  IoResult contents_differ(std::string_view node_name, block::Range range, std::uint64_t offset);
  // `operation` is "read" or "write"; a result is an error or a success.
  IoResult results_differ(std::string_view node_name, std::string_view operation, block::Range range, IoResult test,
                          IoResult raw);

 private:
  // True for the first difference.
  bool mark() { return !has_differed_.exchange(true, std::memory_order_relaxed); }

  const Log* log_;
  std::string_view format_name_;
  std::atomic<bool> has_differed_ = false;
};

}  // namespace blockexport::drivers
